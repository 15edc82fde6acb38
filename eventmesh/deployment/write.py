"""Writes the files of an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from eventmesh.model.errors import SettingsError


def write_texts(folder: Path, texts: Mapping[str, str]) -> Iterator[Path]:
    """Write new files, by name, into a folder; yield each. There is no secret in them.

    Raises SettingsError, and writes none, if one of them exists.
    """
    for name in texts:
        if (folder / name).exists():
            raise SettingsError(
                f"{folder / name} exists already, and nothing was written: remove it, or name "
                "another folder"
            )
    for name, text in texts.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        yield file
