"""Builds the stack file of a deployment for Docker Swarm: `docker stack deploy`.

It is a compose file without what an engine of one machine alone understands, and with what several
need. https://docs.docker.com/reference/compose-file/deploy/ lists the keys of `deploy`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from eventmesh.deployment.compose.document import build_compose
from eventmesh.deployment.model import HTTP, Deployment, HealthCheck, ServiceDeployment
from eventmesh.deployment.platforms import Swarm
from eventmesh.deployment.yaml_text import dump_yaml
from eventmesh.packaging.secret_files import POSTGRES, RABBITMQ

_HEADER: Final = """\
# Written by `eventmesh export swarm`; edit it freely. A secret or a config cannot be changed in a
# Swarm: another value of the variable REVISION makes new ones, and replaces the tasks.

"""
_NO_STACK: Final = (
    "build", "depends_on", "healthcheck", "profiles", "restart", "security_opt",
)  # fmt: skip
_REVISION: Final = "${REVISION:-1}"


def render_stack(deployment: Deployment, swarm: Swarm, folder: Path) -> str:
    """Render the stack file of a deployment for a folder.

    Raises SettingsError for a RabbitMQ of several nodes, which takes an operator that joins them.
    """
    return _HEADER + dump_yaml(build_stack(deployment, swarm, folder.resolve()))


def build_stack(deployment: Deployment, swarm: Swarm, folder: Path) -> dict[str, Any]:
    """Build the stack file of a deployment. Raises as `render_stack` does."""
    document = build_compose(deployment, folder, None, published=False)
    services = document["services"]
    nodes = {RABBITMQ: swarm.broker_constraint, POSTGRES: swarm.database_constraint}
    servers = [name for name in nodes if name in services]
    health = {name: services[name]["healthcheck"] for name in servers}
    for service in services.values():
        for key in _NO_STACK:
            service.pop(key, None)
    for each in deployment.running:
        services[each.name] |= {"healthcheck": _health(each)} if each.task.health else {}
        services[each.name]["deploy"] |= _deploy(each.count, surge=not each.public)
        # Those of a service, and not of each of its containers.
        if "labels" in services[each.name]:
            services[each.name]["deploy"]["labels"] = services[each.name].pop("labels")
        if each.public:
            services[each.name] |= _door(each, swarm)
    if deployment.operator is not None:
        operator = services[deployment.operator.name]["deploy"]
        operator |= {"replicas": 0, "restart_policy": {"condition": "none"}}
        operator["endpoint_mode"] = "dnsrr"
    for name in servers:
        services[name]["healthcheck"] = health[name]
        services[name]["deploy"] |= {
            **_deploy(1, surge=False),
            "placement": {"constraints": [nodes[name]]},
        }
    return {
        "services": services,
        "networks": {
            name: {"driver": "overlay", "driver_opts": {"encrypted": ""}, **options}
            for name, options in document["networks"].items()
        },
        **{key: document[key] for key in ("volumes",) if key in document},
        **{
            key: _revised(deployment, document[key], ".") for key in ("configs",) if key in document
        },
        "secrets": _revised(deployment, document["secrets"], "./secrets"),
    }


def _revised(deployment: Deployment, names: Iterable[str], folder: str) -> dict[str, Any]:
    return {
        name: {"name": f"{deployment.name}-{name}-{_REVISION}", "file": f"{folder}/{name}"}
        for name in names
    }


def _deploy(count: int, *, surge: bool) -> dict[str, Any]:
    """How many tasks there are, and how they are replaced: a failed update is rolled back."""
    change = {
        "parallelism": 1,
        "order": "start-first" if surge else "stop-first",
        "monitor": "30s",
    }
    return {
        "replicas": count,
        # Names lead to the tasks themselves: no virtual address is between.
        "endpoint_mode": "dnsrr",
        "update_config": {**change, "failure_action": "rollback"},
        "rollback_config": {**change, "failure_action": "pause"},
        "restart_policy": {"condition": "any", "delay": "5s"},
        "placement": {"preferences": [{"spread": "node.id"}]},
    }


def _door(service: ServiceDeployment, swarm: Swarm) -> dict[str, Any]:
    """The published port, of the machine: with `dnsrr` there is no routing mesh, so one a node."""
    return {
        "ports": [
            {"target": service.task.port(HTTP), "published": swarm.port, "mode": "host"},
        ]
    }


def _health(service: ServiceDeployment) -> dict[str, Any]:
    health = service.task.health or HealthCheck()
    return {
        "test": ["CMD", *health.command],
        "interval": f"{health.interval}s",
        "timeout": f"{health.timeout}s",
        "start_period": f"{health.start_period}s",
        "retries": health.retries,
    }
