"""The Deployment of a service, and what belongs to it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventmesh.deployment.kubernetes.names import (
    NAME,
    PART_OF,
    USES_BROKER,
    metadata,
    object_name,
)
from eventmesh.deployment.model import (
    ADMIN,
    SECRETS_FOLDER,
    Deployment,
    HealthCheck,
    ServiceDeployment,
    TaskDefinition,
)
from eventmesh.deployment.platforms import Kubernetes

_USER: Final = 10001
"""The user of the images."""


def workload(
    deployment: Deployment, service: ServiceDeployment, kubernetes: Kubernetes
) -> Iterator[dict[str, Any]]:
    """Yield the ServiceAccount, the Deployment and the PodDisruptionBudget of a service."""
    name = object_name(service.name)
    about = metadata(deployment, kubernetes, name)
    selector = {"matchLabels": {NAME: name, PART_OF: deployment.name}}
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": about,
        "automountServiceAccountToken": False,
    }
    scaled = kubernetes.autoscaler != "none" and not service.scaling.is_fixed
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": about,
        "spec": {
            # Where it is scaled, to apply the file again would undo that.
            **({} if scaled else {"replicas": service.count}),
            "selector": selector,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {
                "metadata": {"labels": {**about["labels"], USES_BROKER: "true"}},
                "spec": _pod(deployment, service.task, kubernetes, selector),
            },
        },
    }
    yield {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": about,
        "spec": {"maxUnavailable": 1, "selector": selector},
    }


def _pod(
    deployment: Deployment, task: TaskDefinition, kubernetes: Kubernetes, selector: dict[str, Any]
) -> dict[str, Any]:
    pull = kubernetes.pull_secret
    return {
        "serviceAccountName": object_name(task.name),
        "automountServiceAccountToken": False,
        # Else a Service called eventmesh-http would set EVENTMESH_HTTP_PORT.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": task.stop_timeout,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": [{"name": pull}]} if pull else {}),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector,
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(deployment, task)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {
                "name": "secrets",
                "projected": {
                    "defaultMode": 0o440,
                    "sources": [
                        {
                            "secret": {
                                "name": object_name(secret.name),
                                "items": [{"key": secret.name, "path": secret.name}],
                            }
                        }
                        for secret in task.secrets
                    ],
                },
            },
        ],
    }


def _container(deployment: Deployment, task: TaskDefinition) -> dict[str, Any]:
    limits = {"cpu": f"{task.cpus:g}", "memory": str(task.memory)}
    return {
        "name": object_name(task.name),
        "image": deployment.image(task),
        "args": list(task.command),
        "env": [
            # "$(" begins a variable in a value.
            {"name": name, "value": text.replace("$(", "$$(")}
            for name, text in _environment(deployment, task).items()
        ],
        "ports": [{"name": each.name, "containerPort": each.number} for each in task.ports],
        **_probes(task.health or HealthCheck()),
        "resources": {"requests": limits, "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the memory of the pod
            {"name": "secrets", "mountPath": SECRETS_FOLDER, "readOnly": True},
        ],
    }


def _environment(deployment: Deployment, task: TaskDefinition) -> dict[str, str]:
    environment = deployment.environment(task)
    gateway = deployment.gateway
    if gateway is not None and gateway.task == task and gateway.hosts:
        environment["EVENTMESH_ALLOWED_HOSTS"] = ",".join(gateway.hosts)
    return environment


def _probes(health: HealthCheck) -> dict[str, Any]:
    """Ready while it has its broker; alive while it does not hang, whatever the broker does."""
    often = {
        "periodSeconds": health.interval,
        "timeoutSeconds": health.timeout,
        "failureThreshold": health.retries,
    }
    live = {"httpGet": {"path": health.live_path, "port": ADMIN}}
    tries = -(-health.start_period // health.interval)
    return {
        "startupProbe": {**live, **often, "failureThreshold": tries},
        "livenessProbe": {**live, **often},
        "readinessProbe": {"httpGet": {"path": health.ready_path, "port": ADMIN}, **often},
    }
