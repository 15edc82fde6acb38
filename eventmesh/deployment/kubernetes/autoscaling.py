"""How services are scaled: KEDA by the length of queues, or a HorizontalPodAutoscaler by CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from eventmesh.deployment.kubernetes.names import SCALER, metadata, object_name
from eventmesh.deployment.model import Deployment, ServiceDeployment
from eventmesh.deployment.platforms import Kubernetes
from eventmesh.packaging.broker_export import OPERATOR
from eventmesh.packaging.certificates import CA

_CPU: Final = 60
"""Percent of its CPU at which another task is right, where nothing counts messages."""

_MAX_CALM: Final = 3600
"""Seconds: the longest window that a HorizontalPodAutoscaler takes."""


def scaler(
    deployment: Deployment, service: ServiceDeployment, kubernetes: Kubernetes
) -> Iterator[dict[str, Any]]:
    """Yield what scales a service, if anything does."""
    scaling = service.scaling
    if kubernetes.autoscaler == "none" or scaling.is_fixed:
        return
    about = metadata(deployment, kubernetes, object_name(service.name))
    down = {"scaleDown": {"stabilizationWindowSeconds": min(int(scaling.calm), _MAX_CALM)}}
    # Only KEDA knows queues, and only it goes to zero.
    if kubernetes.autoscaler == "hpa" or not scaling.queues:
        yield {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": about,
            "spec": {
                "scaleTargetRef": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": about["name"],
                },
                "minReplicas": max(scaling.minimum, 1),
                "maxReplicas": scaling.maximum,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {
                                "type": "Utilization",
                                "averageUtilization": scaling.cpu or _CPU,
                            },
                        },
                    }
                ],
                "behavior": down,
            },
        }
        return
    yield {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": about,
        "spec": {
            "scaleTargetRef": {"name": about["name"]},
            "minReplicaCount": scaling.minimum,
            "maxReplicaCount": scaling.maximum,
            "cooldownPeriod": int(scaling.calm),
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": down}},
            "triggers": [
                {
                    "type": "rabbitmq",
                    "metadata": {
                        "protocol": "amqp",
                        "mode": "QueueLength",
                        "queueName": queue.queue,
                        "value": str(queue.backlog),
                        "activationValue": "0",
                    },
                    "authenticationRef": {"name": SCALER},
                }
                for queue in scaling.queues
                # There is no queue of callers where there is no task.
                if queue.kind != "rpc" or scaling.minimum
            ],
        },
    }


def authentication(deployment: Deployment, kubernetes: Kubernetes) -> Iterator[dict[str, Any]]:
    """Yield how KEDA logs in: as the operator, who may ask how long queues are."""
    about = metadata(deployment, kubernetes, SCALER)
    broker = deployment.broker
    namespace = about["namespace"]
    host = f"{broker.host}.{namespace}.svc" if broker.own else broker.host
    path = quote(broker.virtual_host, safe="")
    scheme = "amqps" if broker.tls else "amqp"
    secrets = [("password", OPERATOR)]
    if broker.private_authority:
        secrets.append(("ca", CA))
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": about,
        "data": {
            "host": f"{scheme}://{host}:{broker.port}/{path}",
            "username": OPERATOR,
            "tls": "enable" if broker.private_authority else "disable",
        },
    }
    yield {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": about,
        "spec": {
            "configMapTargetRef": [
                {"parameter": key, "name": SCALER, "key": key}
                for key in ("host", "username", "tls")
            ],
            "secretTargetRef": [
                {"parameter": parameter, "name": object_name(name), "key": name}
                for parameter, name in secrets
            ],
        },
    }
