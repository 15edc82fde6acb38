"""Builds the compose file of services from their declarations.

docs/containers.md says what each line of it is for; the format is that of
https://github.com/compose-spec/compose-spec.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from eventmesh.engine.runtimes.registry import LAMBDA
from eventmesh.model.access.authorizers import Jwt, read_auth
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings
from eventmesh.model.value import value
from eventmesh.packaging.broker_export import GATEWAY, OPERATOR, RESERVED
from eventmesh.packaging.certificates import CA
from eventmesh.packaging.external_mesh import ExternalMesh, escape_variables
from eventmesh.packaging.image import Image, check_image_names, extras_argument
from eventmesh.packaging.rabbitmq_container import CONFIGURATION, SECRETS, rabbitmq_service
from eventmesh.packaging.secret_files import RABBITMQ
from eventmesh.service import Service
from eventmesh.triggers.http import HttpTrigger

NETWORK: Final = "mesh"

_IN_CONTAINER: Final = "/run/secrets"

_STOP_MARGIN: Final = 10
"""Seconds beyond the grace time until a container is killed: a worker gets 5 of them."""


@value
class ContainerSpec:
    """One container: an image, and the service that its target names.

    A container logs in to RabbitMQ as the user of its service, and so has only one.
    """

    image: Image
    service: Service

    @property
    def name(self) -> str:
        """The name of the service, which is that of its user, too."""
        return self.service.name

    @property
    def grace(self) -> int:
        """The grace time in seconds: as long as the longest timeout of a function."""
        timeouts = [function.limits.timeout or 0.0 for function in self.service.specs]
        return math.ceil(max([Settings().grace, *timeouts]))


@value
class Resources:
    """The limits of each service: CPU cores, and memory in compose's form, such as "256M"."""

    cpus: float
    memory: str


def build_compose(
    containers: Sequence[ContainerSpec],
    folder: Path,
    project: str,
    resources: Resources,
    beside: ExternalMesh | None,
) -> dict[str, Any]:
    """Build the compose file for a folder: a mesh of its own, or containers for the mesh `beside`.

    Raises SettingsError if two containers, or images of two folders, would have the same name.
    """
    check_image_names(container.image for container in containers)
    _check_names([container.name for container in containers])
    services = {
        container.name: _service(container, folder, resources, beside) for container in containers
    }
    users = [container.name for container in containers]
    if beside is not None:
        return {
            "name": project,
            "services": services,
            "networks": {NETWORK: {"external": True, "name": beside.network}},
            "secrets": {**_secrets(users), CA: {"file": _path(beside.cafile, folder)}},
        }
    image = containers[0].image
    return {
        "name": project,
        "services": {
            RABBITMQ: {
                **rabbitmq_service(),
                **_hardening(Resources(cpus=2, memory="1G")),
                "networks": [NETWORK],
            },
            GATEWAY: _gateway(image, folder, project, resources),
            OPERATOR: _operator(image, folder, project, resources),
            **services,
        },
        "networks": {NETWORK: {}},
        "volumes": {RABBITMQ: {}},
        "configs": {CONFIGURATION: {"file": f"./{CONFIGURATION}"}},
        "secrets": _secrets([*users, *RESERVED, *SECRETS]),
    }


def _secrets(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"file": f"./secrets/{name}"} for name in names}


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1 or name in (RABBITMQ, *RESERVED):
            raise SettingsError(
                f"two containers would be named {name!r}: give one of the services another name"
            )


def _service(
    container: ContainerSpec, folder: Path, resources: Resources, beside: ExternalMesh | None
) -> dict[str, Any]:
    image = container.image
    return {
        "image": f"{image.name}:${{TAG:-latest}}",
        "build": _build(image, folder, _extras(container.service)),
        "command": ["run", image.argument],
        **_process(container.name, container.grace, resources),
        "networks": [NETWORK],
        **({} if beside else _AFTER_RABBITMQ),
    }


def _extras(service: Service) -> Sequence[str]:
    """Return the extras of eventmesh that the service needs, as its declarations say."""
    declared = [service.auth]
    declared += [
        read_auth(trigger.auth, "")
        for spec in service.specs
        for trigger in spec.triggers
        if isinstance(trigger, HttpTrigger)
    ]
    verifies = any(isinstance(each, Jwt) for auth in declared for each in auth or ())
    runs_lambdas = any(spec.runtime == LAMBDA for spec in service.specs)
    return tuple(name for name, used in (("jwt", verifies), ("lambda", runs_lambdas)) if used)


def _gateway(image: Image, folder: Path, project: str, resources: Resources) -> dict[str, Any]:
    process = _process(GATEWAY, math.ceil(Settings().grace), resources)
    return {
        **_gateway_image(image, folder, project),
        **process,
        # As it is published: no page reaches it by a name that was made to point there.
        "environment": {**process["environment"], "EVENTMESH_ALLOWED_HOSTS": _LOCAL_NAMES},
        "ports": [f"127.0.0.1:${{GATEWAY_PORT:-{Settings().http_port}}}:{Settings().http_port}"],
        "networks": [NETWORK],
        **_AFTER_RABBITMQ,
    }


def _operator(image: Image, folder: Path, project: str, resources: Resources) -> dict[str, Any]:
    """The command line in the mesh, `docker compose run --rm operator`, with a user of its own."""
    process = _process(OPERATOR, math.ceil(Settings().grace), resources)
    return {
        **_gateway_image(image, folder, project),
        "command": ["--help"],
        "profiles": [OPERATOR],
        **process,
        "restart": "no",
        "healthcheck": {"disable": True},
        "networks": [NETWORK],
        **_AFTER_RABBITMQ,
    }


def _gateway_image(image: Image, folder: Path, project: str) -> dict[str, Any]:
    return {
        "image": f"{project}-{GATEWAY}:${{TAG:-latest}}",
        "build": {**_build(image, folder), "target": GATEWAY},
    }


_LOCAL_NAMES: Final = "${EVENTMESH_ALLOWED_HOSTS:-localhost,127.0.0.1}"


def _build(image: Image, folder: Path, extras: Sequence[str] = ()) -> dict[str, Any]:
    # Without a value: that of the variable BASE, or else that of the Dockerfile.
    arguments = ["BASE", *([f"EXTRAS={extras_argument(extras)}"] if extras else [])]
    return {
        "args": arguments,
        "context": _path(escape_variables(image.context), folder),
        "dockerfile": image.dockerfile.relative_to(image.context).as_posix(),
    }


def _process(user: str, grace: int, resources: Resources) -> dict[str, Any]:
    """The lines of every container that runs eventmesh, and logs in as that user."""
    options = f"cafile={_IN_CONTAINER}/{CA}&password_file={_IN_CONTAINER}/{user}"
    return {
        "environment": {
            "EVENTMESH_BROKER": f"amqps://{user}@{RABBITMQ}/?{options}",
            "EVENTMESH_BROKER_USERS": "per-service",
            "EVENTMESH_GATEWAYS": ",".join(RESERVED),
            "EVENTMESH_GRACE": f"{grace}s",
        },
        "secrets": [user, CA],
        "stop_grace_period": f"{grace + _STOP_MARGIN}s",
        **_hardening(resources),
    }


def _hardening(resources: Resources) -> dict[str, Any]:
    return {
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - in the memory of the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "deploy": {
            "resources": {"limits": {"cpus": f"{resources.cpus:g}", "memory": resources.memory}}
        },
        "restart": "unless-stopped",
    }


_AFTER_RABBITMQ: Final[Mapping[str, Any]] = {
    "depends_on": {RABBITMQ: {"condition": "service_healthy"}}
}


def _path(path: Path, folder: Path) -> str:
    """Return the path relative to the folder, in a form that compose does not take for a name."""
    relative = Path(os.path.relpath(path, escape_variables(folder))).as_posix()
    return relative if relative.startswith(".") else f"./{relative}"
