"""Builds the compose file of a deployment.

docs/containers.md says what each line of it is for; the format is that of
https://github.com/compose-spec/compose-spec.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from eventmesh.clusters.labels import scaling_labels
from eventmesh.deployment.compose import postgres_container
from eventmesh.deployment.compose.external_mesh import ExternalMesh, escape_variables
from eventmesh.deployment.compose.rabbitmq_container import (
    CONFIGURATION,
    SECRETS,
    rabbitmq_service,
)
from eventmesh.deployment.model import (
    HTTP,
    OUTSIDE,
    Deployment,
    Scaling,
    ServiceDeployment,
    TaskDefinition,
    TaskImage,
)
from eventmesh.model.errors import SettingsError
from eventmesh.packaging.certificates import CA
from eventmesh.packaging.image import extras_argument
from eventmesh.packaging.secret_files import POSTGRES, RABBITMQ

NETWORK: Final = "mesh"
FRONT: Final = "front"
"""The network of the gateway's port, where that of the mesh leads nowhere."""


def build_compose(
    deployment: Deployment,
    folder: Path,
    beside: ExternalMesh | None,
    *,
    published: bool = True,
) -> dict[str, Any]:
    """Build the compose file for a folder: a mesh of its own, or containers for the mesh `beside`.

    The gateway's port is `published` at the machine's loopback. Raises SettingsError for several
    gateways then, for which one machine has no ports, and for several nodes of RabbitMQ.
    """
    if published and deployment.gateway and deployment.gateway.count > 1:
        raise SettingsError(
            f"deploy.gateway.count={deployment.gateway.count}: in a compose file the gateway has a "
            "port of the machine, which one container takes; leave it out, or use 'eventmesh "
            "export swarm'"
        )
    if deployment.broker.nodes > 1:
        raise SettingsError(
            f"deploy.rabbitmq.nodes={deployment.broker.nodes}: nothing here joins them to a "
            "cluster; leave it out, use 'eventmesh export kubernetes', or a RabbitMQ of yours, "
            "broker=amqps://HOST/VHOST"
        )
    services = {each.name: _service(deployment, each, folder) for each in deployment.services}
    names = [each.name for each in deployment.secrets]
    if beside is not None:
        return {
            "name": deployment.name,
            "services": services,
            "networks": {NETWORK: {"external": True, "name": beside.network}},
            "secrets": {
                **_secrets(name for name in names if name != CA),
                CA: {"file": _path(beside.cafile, folder)},
            },
        }
    servers, configs, secrets = _servers(deployment)
    return {
        "name": deployment.name,
        "services": {**servers, **_doors(deployment, folder), **services},
        "networks": _networks(deployment),
        **({"volumes": {name: {} for name in servers}} if servers else {}),
        **({"configs": {name: {"file": f"./{name}"} for name in configs}} if configs else {}),
        "secrets": _secrets(dict.fromkeys([*names, *secrets])),
    }


def _secrets(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"file": f"./secrets/{name}"} for name in names}


def _servers(deployment: Deployment) -> tuple[dict[str, Any], list[str], list[str]]:
    """The servers that the deployment brings along, and their files: settings, and secrets."""
    servers: dict[str, Any] = {}
    configs: list[str] = []
    secrets: list[str] = []
    if deployment.broker.own:
        servers[RABBITMQ] = {
            **rabbitmq_service(),
            **_hardening(deployment.broker.cpus, deployment.broker.memory),
            "networks": [NETWORK],
        }
        configs.append(CONFIGURATION)
        secrets.extend(SECRETS)
    if deployment.database is not None:
        servers[POSTGRES] = {
            **postgres_container.postgres_service(),
            **_hardening(deployment.database.cpus, deployment.database.memory),
            "networks": [NETWORK],
        }
        configs.append(postgres_container.START)
        secrets.extend(postgres_container.SECRETS)
    return servers, configs, secrets


def _doors(deployment: Deployment, folder: Path) -> dict[str, Any]:
    """The gateway, and the command line: `docker compose run --rm operator`."""
    doors: dict[str, Any] = {}
    if deployment.gateway is not None:
        doors[deployment.gateway.name] = _gateway(deployment, deployment.gateway, folder)
    if deployment.operator is not None:
        doors[deployment.operator.name] = _operator(deployment, deployment.operator, folder)
    return doors


def _service(deployment: Deployment, service: ServiceDeployment, folder: Path) -> dict[str, Any]:
    task = service.task
    return {
        **_image(deployment, task.image, folder),
        "command": list(task.command),
        **_process(deployment, task, service.count),
        **_scaled(service.scaling),
        "networks": _joined(deployment, task),
        **_order(deployment, stored=task.name in deployment.databases),
    }


def _scaled(scaling: Scaling) -> dict[str, Any]:
    """What `eventmesh autoscale` reads."""
    if scaling.is_fixed:
        return {}
    bounds = scaling.minimum, scaling.maximum
    return {"labels": scaling_labels(*bounds, scaling.latency, scaling.calm)}


def _gateway(deployment: Deployment, gateway: ServiceDeployment, folder: Path) -> dict[str, Any]:
    task = gateway.task
    process = _process(deployment, task, gateway.count)
    port = task.port(HTTP)
    # As it is published: no page reaches it by a name that was made to point there.
    hosts = ",".join(("localhost", "127.0.0.1", *gateway.hosts))
    return {
        **_image(deployment, task.image, folder),
        **process,
        "environment": {
            **process["environment"],
            "EVENTMESH_ALLOWED_HOSTS": f"${{EVENTMESH_ALLOWED_HOSTS:-{hosts}}}",
        },
        "ports": [f"127.0.0.1:${{GATEWAY_PORT:-{port}}}:{port}"],
        "networks": [*_joined(deployment, task), *([FRONT] if _is_closed(deployment) else [])],
        **_order(deployment),
    }


def _operator(deployment: Deployment, task: TaskDefinition, folder: Path) -> dict[str, Any]:
    return {
        **_image(deployment, task.image, folder),
        "command": list(task.command),
        "profiles": [task.name],
        **_process(deployment, task, 1),
        "restart": "no",
        "healthcheck": {"disable": True},
        "networks": _joined(deployment, task),
        **_order(deployment),
    }


def _is_closed(deployment: Deployment) -> bool:
    """Whether something may not reach the outside."""
    return not all(task.egress for task in deployment.tasks)


def _networks(deployment: Deployment) -> dict[str, Any]:
    if not _is_closed(deployment):
        return {NETWORK: {}}
    leads_out = any(task.egress for task in deployment.tasks)
    networks: dict[str, Any] = {NETWORK: {"internal": True}, FRONT: {}}
    return networks | ({OUTSIDE: {}} if leads_out else {})


def _joined(deployment: Deployment, task: TaskDefinition) -> list[str]:
    return [NETWORK, *([OUTSIDE] if _is_closed(deployment) and task.egress else [])]


def _image(deployment: Deployment, image: TaskImage, folder: Path) -> dict[str, Any]:
    prefix = f"{deployment.registry}/" if deployment.registry else ""
    return {
        "image": f"{prefix}{image.name}:${{TAG:-{deployment.tag}}}",
        "build": {**_build(image, folder), **({"target": image.stage} if image.stage else {})},
    }


def _build(image: TaskImage, folder: Path) -> dict[str, Any]:
    # Without a value: that of the variable BASE, or else that of the Dockerfile.
    extras = [f"EXTRAS={extras_argument(image.extras)}"] if image.extras else []
    source = image.source
    return {
        "args": ["BASE", *extras],
        "context": _path(escape_variables(source.context), folder),
        "dockerfile": source.dockerfile.relative_to(source.context).as_posix(),
    }


def _process(deployment: Deployment, task: TaskDefinition, count: int) -> dict[str, Any]:
    """The lines of every container that runs eventmesh, and logs in as the user of its task."""
    hardening = _hardening(task.cpus, task.memory)
    if count != 1:
        hardening["deploy"]["replicas"] = count
    environment = deployment.environment(task)
    return {
        "environment": {name: text.replace("$", "$$") for name, text in environment.items()},
        "secrets": [each.name for each in task.secrets],
        "stop_grace_period": f"{task.stop_timeout}s",
        **hardening,
    }


def _hardening(cpus: float, memory: int) -> dict[str, Any]:
    return {
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - in the memory of the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "deploy": {"resources": {"limits": {"cpus": f"{cpus:g}", "memory": format_size(memory)}}},
        "restart": "unless-stopped",
    }


_SIZES: Final[Sequence[tuple[int, str]]] = ((2**30, "G"), (2**20, "M"), (2**10, "K"))


def format_size(size: int) -> str:
    """Return bytes in compose's form, such as "256M"."""
    return next((f"{size // unit}{name}" for unit, name in _SIZES if size % unit == 0), f"{size}")


def _order(deployment: Deployment, *, stored: bool = False) -> Mapping[str, Any]:
    if not deployment.broker.own or deployment.gateway is None:
        return {}
    servers = (RABBITMQ, POSTGRES) if stored else (RABBITMQ,)
    return {"depends_on": {name: {"condition": "service_healthy"} for name in servers}}


def _path(path: Path, folder: Path) -> str:
    """Return the path relative to the folder, in a form that compose does not take for a name."""
    relative = Path(os.path.relpath(path, escape_variables(folder))).as_posix()
    return relative if relative.startswith(".") else f"./{relative}"
