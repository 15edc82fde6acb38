"""A mesh that runs by another compose file, for services that are to join it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

import yaml

from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value
from eventmesh.packaging.image import image_name
from eventmesh.packaging.secret_files import BROKER_URL

_ADVICE: Final = "as in the files that 'eventmesh export compose' writes"


@value
class ExternalMesh:
    """How to join it: its network's name, and the file with the URL of its RabbitMQ.

    Both as they stand in a compose file, perhaps with variables in them.
    """

    network: str
    broker_url: Path


def read_mesh(file: Path) -> ExternalMesh:
    """The mesh of a compose file. Raises SettingsError for one that it cannot be joined by."""
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read as a compose file: {error}") from error
    network = _entry(document, "networks", "mesh", file)
    secret = _entry(document, "secrets", BROKER_URL, file).get("file")
    if not isinstance(secret, str):
        raise SettingsError(f"{file}: the secret {BROKER_URL!r} is to be a file, {_ADVICE}")
    project = document.get("name") or image_name(file.resolve().parent.name)
    # It has another name where the other project runs under one that its file does not say.
    name = network.get("name", f"${{MESH_NETWORK:-{project}_mesh}}")
    return ExternalMesh(name, literal(file.resolve().parent) / secret)


def literal(path: Path) -> Path:
    """A path as compose files have it, where '$' begins a variable and '$$' is a '$'."""
    return Path(str(path).replace("$", "$$"))


def _entry(document: Any, section: str, name: str, file: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", document[section][name] or {})
    except (LookupError, TypeError) as error:
        raise SettingsError(
            f"{file} has no {name!r} in {section!r}, by which others could join: give it one, "
            f"{_ADVICE}"
        ) from error
