"""Files of a service in the making."""

import sys
from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder, which is the current one; what is imported is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield Path(tmp_path)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or Path(file).is_relative_to(tmp_path):
            del sys.modules[name]
    sys.path_importer_cache.clear()


@pytest.fixture
def write(project):
    """Write a file of the project: its path and its text."""

    def write(path, text):
        file = project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write
