"""A package of somebody else's, installed with pip, adds a trigger and a middleware.

It is that of docs/extending.md: examples/extension.
"""

import ast
import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import build_wheel

from eventmesh import DeclarationError, Retry, Service, on
from eventmesh.testing import TestMesh

EXTENSION = Path(__file__).parents[2] / "examples/extension"
PUBLIC = {"eventmesh", "eventmesh.ext"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the package, and nothing else."""
    folder = tmp_path_factory.mktemp("extension")
    wheel = build_wheel(EXTENSION, folder)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", folder / "site", wheel], check=True, timeout=120)
    return folder / "site"


@pytest.fixture
def installed(site, monkeypatch):
    """The package, importable for one test."""
    monkeypatch.syspath_prepend(site)
    yield importlib.import_module("eventmesh_watch")
    for name in [name for name in sys.modules if name.startswith("eventmesh_watch")]:
        del sys.modules[name]


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    (folder / "old.csv").write_text("it was there before")
    return folder


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_it_uses_public_names_only():
    sources = [*EXTENSION.rglob("*.py")]
    assert len(sources) >= 4
    ours = {
        module
        for path in sources
        for module in imported_modules(path)
        if module.partition(".")[0] == "eventmesh"
    }
    assert ours == PUBLIC


async def test_a_file_fires_a_function_that_is_retried_and_audited(installed, incoming, caplog):
    caplog.set_level(logging.INFO, "eventmesh_watch.audit")
    app = Service("imports", middleware=["audit"])
    seen = []

    @app.function(on.watch(str(incoming), "*.csv"), retry=Retry(3, initial=1, jitter="none"))
    async def read(file: installed.FileEvent) -> None:
        seen.append(Path(file.path).name)
        if len(seen) < 3:
            raise OSError("not yet")

    async with TestMesh(app, allow_failures=True) as mesh:
        await mesh.advance("3s")
        assert seen == []
        (incoming / "new.csv").write_text("a,b")
        (incoming / "notes.txt").write_text("of another kind")
        await mesh.advance("10s")
    assert seen == ["new.csv"] * 3
    audited = [one.getMessage() for one in caplog.records if one.name == "eventmesh_watch.audit"]
    assert audited == [
        "imports.read fired by watch, attempt 1: OSError: not yet",
        "imports.read fired by watch, attempt 2: OSError: not yet",
        "imports.read fired by watch, attempt 3: ok",
    ]


async def test_a_file_fires_once_until_it_changes(installed, incoming):
    app = Service("imports")
    sizes = []

    @app.function(on.watch(str(incoming), period="5s"))
    async def read(file: installed.FileEvent) -> None:
        sizes.append(file.size)

    async with TestMesh(app) as mesh:
        file = incoming / "new.csv"
        for text in ("a", "a,b", "a,b"):
            file.write_text(text)
            os.utime(file, (0, len(text)))
            await mesh.advance("12s")
    assert sizes == [1, 3]


def test_a_function_that_takes_no_file_is_refused(installed):
    with pytest.raises(
        DeclarationError, match=r"imports\.read: on\.watch\(\) gives it a FileEvent"
    ):

        @Service("imports").function(on.watch("incoming"))
        async def read(number: int) -> None: ...


def test_the_launcher_shows_it(site):
    ended = subprocess.run(
        [sys.executable, "-m", "eventmesh", "list", "examples/extension/app.py"],
        cwd=EXTENSION.parents[1],
        env=os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "watch incoming/*.csv" in ended.stdout


class TestWithoutIt:
    def test_the_trigger_is_not_there(self):
        with pytest.raises(AttributeError, match=r"no trigger on\.watch: there are on\.get"):
            _ = on.watch

    def test_the_middleware_is_not_there(self):
        with pytest.raises(DeclarationError, match=r"no installed package provides .* 'audit'"):
            Service("imports", middleware=["audit"])
