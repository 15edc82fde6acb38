"""Which files images install, by hash."""

import io
import json
import stat
from base64 import b64decode
from zipfile import ZipFile

import pytest

from eventmesh import SettingsError
from eventmesh.packaging import lock_in_image
from eventmesh.packaging.container_engine import ContainerEngine, EngineError
from eventmesh.packaging.image import image_for_target, write_missing_files
from eventmesh.packaging.lock import write_locks
from eventmesh.targets.parse import read_target

ONE = "a==1 \\\n    --hash=sha256:00\n"


@pytest.fixture
def command(tmp_path):
    """Make a command that keeps how it is called and what it is given, and does what is said."""

    def make(script):
        file = tmp_path / "command"
        file.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\n{script}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return str(file)

    return make


@pytest.fixture
def engine(command, tmp_path):
    return ContainerEngine(command(f"cat > {tmp_path}/given; printf '{ONE}'"))


@pytest.fixture
def image(write):
    """A service's image, whose files are there."""

    def image(folder="hello"):
        write(f"{folder}/app.py", "")
        write(f"{folder}/requirements.txt", "eventmesh[jwt]\nhttpx\n")
        made = image_for_target(read_target(folder))
        list(write_missing_files(made))
        return made

    return image


def given(tmp_path):
    return json.loads((tmp_path / "given").read_text())


def test_the_base_images_own_pip_is_asked(engine, image, tmp_path):
    hello = image()
    assert list(write_locks(engine, [hello], None, ["otel"])) == [
        hello.folder / "requirements.lock"
    ]
    called = (tmp_path / "called").read_text().splitlines()
    options = ["run", "--rm", "--interactive", "--entrypoint", "python"]
    assert called[:7] == [*options, "python:3.13-slim", "-c"]
    request = given(tmp_path)
    assert request["requirements"] == ["eventmesh[jwt]", "httpx"]
    assert request["extras"] == "[otel]"
    assert request["machines"] == ["x86_64", "aarch64"]
    assert request["constraints"] == (hello.folder / "constraints.txt").read_text()
    names = ZipFile(io.BytesIO(b64decode(request["content"]))).namelist()
    assert "eventmesh/packaging/lock.py" in names


def test_a_lock_is_written_anew_and_says_for_what(engine, image):
    hello = image()
    lock = hello.folder / "requirements.lock"
    lock.write_text("old")
    base = "python:3.14@sha256:00"
    list(write_locks(engine, [hello], base, []))
    assert lock.read_text() == (
        "# Written by `eventmesh build --lock`: images install these files and no others.\n"
        f"# For x86_64 and aarch64, and the Python of {base}\n{ONE}"
    )


def test_images_of_one_clone_have_one_lock(engine, write, image, project, tmp_path):
    write("pyproject.toml", '[build-system]\nrequires = ["hatchling>=1.27"]\n')
    write("eventmesh/packaging/template/Dockerfile.tmpl", "")
    write("constraints.txt", "")
    images = [image("services/one"), image("services/two")]
    assert list(write_locks(engine, images, None, [])) == [project / "requirements.lock"]
    requirements = given(tmp_path)["requirements"]
    assert requirements == ["eventmesh[jwt]", "httpx"] * 2 + ["hatchling>=1.27"]


def test_nothing_is_written_where_pip_fails(command, image):
    hello = image()
    with pytest.raises(EngineError, match=r"Python in python:3\.13-slim ended with code 1"):
        list(write_locks(ContainerEngine(command("exit 1")), [hello], None, []))
    assert not (hello.folder / "requirements.lock").exists()


def test_a_dockerfile_without_a_base(engine, image):
    hello = image()
    hello.dockerfile.write_text("FROM scratch\n")
    with pytest.raises(SettingsError, match=r"no line 'ARG BASE=…': name the image .* --base"):
        list(write_locks(engine, [hello], None, []))


REQUEST = {
    "wheel": "eventmesh-0-py3-none-any.whl",
    "content": "",
    "extras": "[jwt]",
    "requirements": ["b"],
    "constraints": "b==2\n",
    "machines": ["x86_64", "aarch64"],
}
PIP = """
import json, sys
arguments = sys.argv[1:]
machine = arguments[-1].partition("_")[2]
assert "--only-binary=:all:" in arguments and "--dry-run" in arguments
lines = open(arguments[arguments.index("-r") + 1]).read().splitlines()
assert lines[0].endswith("eventmesh-0-py3-none-any.whl[jwt]") and lines[1:] == ["b"], lines
def item(name, version, hash, **more):
    archive = {"archive_info": {"hashes": {"sha256": hash}}}
    return {"metadata": {"name": name, "version": version}, "download_info": archive, **more}
report = {"install": [
    item("eventmesh", "0", "ff", is_direct=True),
    item("B", "2", "22" + machine), item("a", "1", "11"),
]}
json.dump(report, open(arguments[arguments.index("--report") + 1], "w"))
"""


@pytest.fixture
def ask(command, tmp_path, monkeypatch, capsys):
    """Run what runs in the image, with a pip of the test's own."""

    def ask(script):
        (tmp_path / "pip.py").write_text(PIP)
        monkeypatch.setattr(lock_in_image.sys, "executable", command(script))
        monkeypatch.setattr(lock_in_image.sys, "stdin", io.StringIO(json.dumps(REQUEST)))
        return lock_in_image.main(), capsys.readouterr()

    return ask


def test_the_hashes_of_all_machines(ask, tmp_path):
    code, printed = ask(f'exec /usr/bin/env python3 {tmp_path}/pip.py "$@"')
    assert code == 0, printed.err
    assert printed.out == (
        "a==1 \\\n    --hash=sha256:11\n"
        "b==2 \\\n    --hash=sha256:22aarch64 \\\n    --hash=sha256:22x86_64\n"
    )


def test_pips_reason_is_shown(ask):
    code, printed = ask("echo 'no wheel of b' >&2; exit 1")
    assert (code, printed.out) == (1, "")
    assert printed.err == "for x86_64 pip says:\nno wheel of b\n"


@pytest.mark.parametrize(
    ("libc", "first", "last"),
    [
        (("glibc", "2.36"), "manylinux_2_36_x86_64", "manylinux1_x86_64"),
        (("", ""), "musllinux_1_1_x86_64", "musllinux_1_2_x86_64"),
    ],
)
def test_wheels_for_the_c_library_of_the_image(monkeypatch, libc, first, last):
    monkeypatch.setattr(lock_in_image.platform, "libc_ver", lambda: libc)
    tags = lock_in_image.platforms("x86_64")
    assert (tags[0], tags[-1]) == (first, last)
