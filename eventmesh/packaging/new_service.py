"""Writes the files of a new service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventmesh.model.errors import SettingsError
from eventmesh.model.topology import check_service
from eventmesh.packaging.image import (
    TEMPLATES,
    dockerfile_fields,
    image_for_new_service,
    render_template,
)

_SUFFIX: Final = ".tmpl"


def default_folder(name: str) -> Path:
    """Return the folder of a service that is written without a choice of one.

    Raises DeclarationError for an invalid name.
    """
    return Path(check_service(name).replace("-", "_"))


def write_new_service(name: str, folder: Path) -> Iterator[Path]:
    """Write a service that runs, its test and the files of its image; yield each file.

    Raises DeclarationError for an invalid name, and SettingsError if a file exists or the folder
    cannot be a package or an image. Nothing is written then.
    """
    texts = _render(check_service(name), _check_package(folder))
    existing = [file for file in texts if (folder / file).exists()]
    if existing:
        raise SettingsError(
            f"{folder / existing[0]} exists already, and nothing was written: choose another name, "
            "or another folder with --directory"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
        yield folder / file


def _check_package(folder: Path) -> Path:
    """Return a folder that can be a Python package.

    As packages, several services have tests of the same file names in one run of pytest.
    """
    name = folder.resolve().name
    if not name.isidentifier():
        raise SettingsError(
            f"the folder {name!r} cannot be a Python package: choose one with --directory whose "
            "name has only letters, digits and '_', and does not begin with a digit"
        )
    return folder


def _render(name: str, folder: Path) -> dict[str, str]:
    """Return the text of each file by its name."""
    fields = {"name": name, **dockerfile_fields(image_for_new_service(folder))}
    templates = (template.name.removesuffix(_SUFFIX) for template in TEMPLATES.iterdir())
    return {template: render_template(template, fields) for template in templates}
