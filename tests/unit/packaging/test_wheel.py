import base64
import csv
import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

import eventmesh
from eventmesh.packaging.wheel import write_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return write_wheel(tmp_path_factory.mktemp("vendor"))


def test_it_has_the_whole_package(wheel):
    package = Path(eventmesh.__file__).parent
    files = {
        file.relative_to(package.parent).as_posix(): file.read_bytes()
        for file in package.rglob("*")
        if file.is_file() and file.parent.name != "__pycache__"
    }
    with ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert {name: packed.get(name) for name in files} == files
    info = f"eventmesh-{version('eventmesh')}.dist-info"
    assert set(packed) - set(files) == {
        f"{info}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }


def test_its_record_is_true(wheel):
    with ZipFile(wheel) as archive:
        *names, record = archive.namelist()
        rows = list(csv.reader(archive.read(record).decode().splitlines()))
        contents = {name: archive.read(name) for name in names}
    assert rows[-1] == [record, "", ""]
    assert [row[0] for row in rows[:-1]] == names
    for name, digest, size in rows[:-1]:
        found = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).decode()
        assert (f"{digest}=", int(size)) == (f"sha256={found}", len(contents[name]))


def test_pip_installs_it(wheel, tmp_path):
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    pip = (sys.executable, "-m", "pip", "install", *options)
    subprocess.run([*pip, "--target", tmp_path, wheel], check=True, timeout=100)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import eventmesh; print(eventmesh.__file__)"
    )
    imported = subprocess.run(
        [sys.executable, "-P", "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert Path(imported.strip()) == tmp_path / "eventmesh" / "__init__.py"
    assert (tmp_path / "bin" / "eventmesh").is_file()


def test_the_same_files_make_the_same_bytes_and_an_older_wheel_goes(wheel, tmp_path):
    (tmp_path / "eventmesh-0.0.1-py3-none-any.whl").touch()
    (tmp_path / "other-0.0.1-py3-none-any.whl").touch()
    assert write_wheel(tmp_path).read_bytes() == wheel.read_bytes()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {wheel.name, "other-0.0.1-py3-none-any.whl"}
