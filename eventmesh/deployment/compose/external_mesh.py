"""A mesh that another compose file runs, for services that join it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

import yaml

from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value
from eventmesh.packaging.certificates import CA
from eventmesh.packaging.image import image_name

_ADVICE: Final = "as in the files that 'eventmesh export compose' writes"


@value
class ExternalMesh:
    """How to join it: the name of its network, and the file with the authority of its RabbitMQ.

    Both are written as in a compose file and may contain variables.
    """

    network: str
    cafile: Path


def read_external_mesh(file: Path) -> ExternalMesh:
    """Read the mesh of a compose file. Raises SettingsError if no service can join it."""
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read as a compose file: {error}") from error
    network = _entry(document, "networks", "mesh", file)
    secret = _entry(document, "secrets", CA, file).get("file")
    if not isinstance(secret, str):
        raise SettingsError(f"{file}: the secret {CA!r} must be a file, {_ADVICE}")
    project = document.get("name") or image_name(file.resolve().parent.name)
    # Its name differs if the other project does not run under the name in its file.
    name = network.get("name", f"${{MESH_NETWORK:-{project}_mesh}}")
    return ExternalMesh(name, escape_variables(file.resolve().parent) / secret)


def escape_variables(path: Path) -> Path:
    """Return a path for a compose file, where '$' begins a variable and '$$' is a '$'."""
    return Path(str(path).replace("$", "$$"))


def _entry(document: Any, section: str, name: str, file: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", document[section][name] or {})
    except (LookupError, TypeError) as error:
        raise SettingsError(
            f"{file} has no {name!r} in {section!r}, which services need to join: add it, {_ADVICE}"
        ) from error
