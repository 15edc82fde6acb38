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

from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings
from eventmesh.model.value import value
from eventmesh.packaging.external_mesh import ExternalMesh, escape_variables
from eventmesh.packaging.image import Image, check_image_names
from eventmesh.packaging.secret_files import BROKER_URL, RABBITMQ_CONF
from eventmesh.service import Service

NETWORK: Final = "mesh"

_RABBITMQ: Final = "rabbitmq"
_GATEWAY: Final = "gateway"

_STOP_MARGIN: Final = 10
"""Seconds beyond the grace time until a container is killed: a worker gets 5 of them."""


@value
class ContainerSpec:
    """One container: an image, and the services that its target names."""

    image: Image
    services: Sequence[Service]

    @property
    def name(self) -> str:
        """The name of the service; of several services, that of their folder."""
        return self.services[0].name if len(self.services) == 1 else self.image.name

    @property
    def grace(self) -> int:
        """The grace time in seconds: as long as the longest timeout of a function."""
        functions = (function for service in self.services for function in service.specs)
        timeouts = [function.limits.timeout or 0.0 for function in functions]
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
    if beside is not None:
        return {
            "name": project,
            "services": services,
            "networks": {NETWORK: {"external": True, "name": beside.network}},
            "secrets": {BROKER_URL: {"file": _path(beside.broker_url, folder)}},
        }
    return {
        "name": project,
        "services": {
            _RABBITMQ: _rabbitmq(),
            _GATEWAY: _gateway(containers[0].image, folder, resources),
            **services,
        },
        "networks": {NETWORK: {}},
        "volumes": {_RABBITMQ: {}},
        "secrets": {name: {"file": f"./secrets/{name}"} for name in (BROKER_URL, RABBITMQ_CONF)},
    }


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1 or name in (_RABBITMQ, _GATEWAY):
            raise SettingsError(
                f"two containers would be named {name!r}: give one of the services another name"
            )


def _service(
    container: ContainerSpec, folder: Path, resources: Resources, beside: ExternalMesh | None
) -> dict[str, Any]:
    image = container.image
    return {
        "image": f"{image.name}:${{TAG:-latest}}",
        "build": _build(image, folder),
        "command": ["run", image.argument],
        **_process(container.grace, resources),
        "networks": [NETWORK],
        **({} if beside else _AFTER_RABBITMQ),
    }


def _gateway(image: Image, folder: Path, resources: Resources) -> dict[str, Any]:
    process = _process(math.ceil(Settings().grace), resources)
    return {
        "build": {**_build(image, folder), "target": _GATEWAY},
        **process,
        # As it is published: no page reaches it by a name that was made to point there.
        "environment": {**process["environment"], "EVENTMESH_ALLOWED_HOSTS": _LOCAL_NAMES},
        "ports": [f"127.0.0.1:${{GATEWAY_PORT:-{Settings().http_port}}}:{Settings().http_port}"],
        "networks": [NETWORK],
        **_AFTER_RABBITMQ,
    }


_LOCAL_NAMES: Final = "${EVENTMESH_ALLOWED_HOSTS:-localhost,127.0.0.1}"


def _build(image: Image, folder: Path) -> dict[str, Any]:
    return {
        "context": _path(escape_variables(image.context), folder),
        "dockerfile": image.dockerfile.relative_to(image.context).as_posix(),
    }


def _process(grace: int, resources: Resources) -> dict[str, Any]:
    """The lines of every container that runs eventmesh."""
    return {
        "environment": {
            "EVENTMESH_BROKER_FILE": f"/run/secrets/{BROKER_URL}",
            "EVENTMESH_GRACE": f"{grace}s",
        },
        "secrets": [BROKER_URL],
        "stop_grace_period": f"{grace + _STOP_MARGIN}s",
        **_hardening(resources),
    }


def _rabbitmq() -> dict[str, Any]:
    return {
        "image": "rabbitmq:4-management",
        "hostname": _RABBITMQ,
        "user": "rabbitmq",
        "secrets": [
            {"source": RABBITMQ_CONF, "target": "/etc/rabbitmq/conf.d/20-user.conf"},
        ],
        "environment": {
            # Otherwise messages that come due while it starts may be three minutes late.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-rabbit dead_letter_worker_publisher_confirm_timeout 10000"
            ),
        },
        "volumes": [f"{_RABBITMQ}:/var/lib/rabbitmq"],
        "healthcheck": {
            "test": ["CMD", "rabbitmq-diagnostics", "-q", "check_port_connectivity"],
            "interval": "10s",
            "timeout": "10s",
            "start_period": "60s",
        },
        "stop_grace_period": "60s",
        **_hardening(Resources(cpus=2, memory="1G")),
        "networks": [NETWORK],
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
    "depends_on": {_RABBITMQ: {"condition": "service_healthy"}}
}


def _path(path: Path, folder: Path) -> str:
    """Return the path relative to the folder, in a form that compose does not take for a name."""
    relative = Path(os.path.relpath(path, escape_variables(folder))).as_posix()
    return relative if relative.startswith(".") else f"./{relative}"
