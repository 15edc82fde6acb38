"""Packages of others, installed for one test: their modules, and the entry points they register."""

from pathlib import Path

import pytest


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a module with entry points, given as "group: name = module:attribute"."""

    def install(module: str, source: str, *entry_points: str) -> None:
        folder = tmp_path / "site"
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        Path(folder, f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [point.split(": ", 1) for point in entry_points]
        text = "".join(f"[{group}]\n{point}\n" for group, point in lines)
        (info / "entry_points.txt").write_text(text)
        monkeypatch.syspath_prepend(folder)

    return install
