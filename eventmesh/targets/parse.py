"""Parses TARGETs, the texts by which users name services, without importing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value
from eventmesh.targets.importer import find_module_folder, find_module_name

_FORMS: Final = "a target is a file, a folder with an app.py, package.module or module:attribute"


@value
class Target:
    """A file or the name of a module, and perhaps one attribute of it."""

    text: str
    module: Path | str
    attribute: str

    @property
    def folder(self) -> Path:
        """The folder of its code, which is not run. Raises SettingsError if there is none."""
        if isinstance(self.module, Path):
            folder, name = find_module_name(self.module)
            return folder / name.partition(".")[0] if "." in name else folder
        found = find_module_folder(self.module)
        if found is None:
            raise SettingsError(f"there is no {self.module!r} here: {_FORMS}")
        return found


def read_target(text: str) -> Target:
    """Parse a target. Raises SettingsError for a text that is not a target."""
    source, _, attribute = text.rpartition(":")
    if not source or not attribute.isidentifier():
        source, attribute = text, ""
    path = Path(source)
    file = path / "app.py" if path.is_dir() else path
    if file.suffix == ".py" and file.is_file():
        return Target(text, file.resolve(), attribute)
    is_name = path.suffix != ".py" and all(part.isidentifier() for part in source.split("."))
    if is_name and (not path.is_dir() or (path / "__init__.py").is_file()):
        return Target(text, source, attribute)
    raise SettingsError(f"there is no {str(file)!r}: {_FORMS}")
