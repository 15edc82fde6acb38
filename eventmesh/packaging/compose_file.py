"""Renders and writes compose files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import yaml

from eventmesh.model.errors import SettingsError
from eventmesh.packaging.broker_export import rights_of
from eventmesh.packaging.compose import ContainerSpec, Resources, build_compose
from eventmesh.packaging.external_mesh import ExternalMesh
from eventmesh.packaging.image import image_for_target, image_name
from eventmesh.packaging.rabbitmq_container import CONFIGURATION, RABBITMQ_CONF
from eventmesh.packaging.secret_files import write_secrets, write_service_secrets
from eventmesh.service import Service
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services

_HEADER: Final = """\
# Written by `eventmesh export compose`; edit it freely. `eventmesh build` writes the Dockerfiles.

"""


def load_containers(targets: Sequence[Target]) -> list[ContainerSpec]:
    """Import the targets and return a container for each.

    Raises SettingsError for a target that cannot be imported, or that has several services: each
    has a user of its own at RabbitMQ, as which a process logs in.
    """
    # Modules may print while they are imported; that is not the result.
    with redirect_stdout(sys.stderr):
        return [ContainerSpec(image_for_target(target), _service(target)) for target in targets]


def _service(target: Target) -> Service:
    services = load_services([target])
    if len(services) > 1:
        raise SettingsError(
            f"{target.text} has the services {', '.join(each.name for each in services)}, and a "
            "container logs in to RabbitMQ as the user of one service: name them one by one, by "
            "their variables, as in FOLDER/app.py:VARIABLE"
        )
    return services[0]


def render_compose(
    containers: Sequence[ContainerSpec],
    folder: Path,
    resources: Resources,
    beside: ExternalMesh | None,
) -> str:
    """Render the compose file of these containers for a folder.

    Raises SettingsError for two containers or images of one name.
    """
    folder = folder.resolve()
    document = build_compose(containers, folder, image_name(folder.name), resources, beside)
    return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def write_compose(
    text: str, file: Path, containers: Sequence[ContainerSpec], *, joins: bool
) -> Iterator[Path]:
    """Write it to a file, and what it needs beside it; yield each file written.

    What `joins` another mesh needs no RabbitMQ, and no authority. Raises SettingsError if the file
    exists, and what `write_secrets` raises.
    """
    if file.exists():
        raise SettingsError(
            f"{file} exists already, and nothing was written: remove it, or name another file"
        )
    rights = [rights_of(container.service) for container in containers]
    write = write_service_secrets if joins else write_secrets
    yield from write(file.parent / "secrets", rights)
    settings = file.parent / CONFIGURATION
    if not joins and not settings.exists():
        settings.write_text(RABBITMQ_CONF, encoding="utf-8")
        yield settings
    file.write_text(text, encoding="utf-8")
    yield file


class _Dumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice: aliases would need invented names."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's interface
        return True
