"""Renders and writes compose files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventmesh.deployment.compose.document import build_compose
from eventmesh.deployment.compose.external_mesh import ExternalMesh
from eventmesh.deployment.compose.postgres_container import POSTGRES_SH, START
from eventmesh.deployment.compose.rabbitmq_container import CONFIGURATION, RABBITMQ_CONF
from eventmesh.deployment.model import Deployment
from eventmesh.deployment.yaml_text import dump_yaml
from eventmesh.model.errors import SettingsError
from eventmesh.packaging.secret_files import write_secrets, write_service_secrets

_HEADER: Final = """\
# Written by `eventmesh export compose`; edit it freely. `eventmesh build` writes the Dockerfiles.

"""


def render_compose(deployment: Deployment, folder: Path, beside: ExternalMesh | None) -> str:
    """Render the compose file of a deployment for a folder. Raises as `build_compose` does."""
    return _HEADER + dump_yaml(build_compose(deployment, folder.resolve(), beside))


def write_compose(text: str, file: Path, deployment: Deployment, *, joins: bool) -> Iterator[Path]:
    """Write it to a file, and what it needs beside it; yield each file written.

    What `joins` another mesh needs no servers, and no authority. Raises SettingsError if the file
    exists, and what `write_secrets` raises.
    """
    if file.exists():
        raise SettingsError(
            f"{file} exists already, and nothing was written: remove it, or name another file"
        )
    secrets = file.parent / "secrets"
    if joins:
        yield from write_service_secrets(secrets, deployment.rights)
    else:
        yield from write_secrets(secrets, deployment.rights, databases=deployment.databases)
        beside = {CONFIGURATION: RABBITMQ_CONF}
        if deployment.database is not None:
            beside[START] = POSTGRES_SH
        for name, content in beside.items():
            if not (file.parent / name).exists():
                (file.parent / name).write_text(content, encoding="utf-8")
                yield file.parent / name
    file.write_text(text, encoding="utf-8")
    yield file
