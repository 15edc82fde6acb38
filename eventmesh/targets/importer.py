"""Imports the user's modules, with errors about the user's code."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from eventmesh.model.errors import EventmeshError, SettingsError
from eventmesh.targets.source_location import is_user_file


def import_file(file: Path) -> ModuleType:
    """Import a file as `python FILE` would: its imports are searched in its own folder first.

    A file in a package is imported as a module of that package, so that relative imports work.
    Several files of one process may have the same name, and so may the modules beside them: each
    file gets the modules of its own folder, if it imports them at the top.

    Raises SettingsError if that fails, and the module's own DeclarationError.
    """
    folder, name = find_module_name(file)
    _search_first(folder)
    _forget_modules_outside(folder)
    with _explain_import_errors(file.name):
        module = import_module(name)
    if _module_file(module) != file:
        raise SettingsError(
            f"{file.name} cannot be imported: another module is called {name!r} already, "
            f"{_module_file(module) or 'one of Python'}; rename the file"
        )
    return module


def import_name(name: str) -> ModuleType:
    """Import a module by name, as `python -m NAME` would: the current folder is searched first.

    Raises SettingsError if that fails, and the module's own DeclarationError.
    """
    _search_first(Path.cwd())
    with _explain_import_errors(name):
        return import_module(name)


def find_module_name(file: Path) -> tuple[Path, str]:
    """Return the folder to search for a file's module, and the module's name with its packages."""
    names = [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(names)


def find_module_folder(name: str) -> Path | None:
    """Return the folder of a module, or of the package it belongs to; None if there is none.

    It imports nothing.
    """
    _search_first(Path.cwd())
    spec = find_spec(name.partition(".")[0])
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        return Path(next(iter(spec.submodule_search_locations)))
    return None if spec.origin is None else Path(spec.origin).parent


def _search_first(folder: Path) -> None:
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]


def _forget_modules_outside(folder: Path) -> None:
    """Forget the user's modules of other folders whose names modules of this folder have too."""
    own = {path.stem for path in folder.iterdir() if path.is_dir() or path.suffix == ".py"}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in own:
            continue
        file = _module_file(module)
        if file is not None and not file.is_relative_to(folder) and is_user_file(file):
            del sys.modules[name]


def _module_file(module: ModuleType) -> Path | None:
    file: str | None = getattr(module, "__file__", None)
    return None if file is None else Path(file)


@contextmanager
def _explain_import_errors(what: str) -> Generator[None]:
    try:
        yield
    except EventmeshError:
        raise
    except (Exception, SystemExit) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise SettingsError(f"{what} cannot be imported: {reason}") from error
