"""RabbitMQ by its cluster operator: https://www.rabbitmq.com/kubernetes/operator/using-operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventmesh.deployment.kubernetes.names import (
    NAME,
    NAMESPACE,
    SCALER,
    USES_BROKER,
    metadata,
)
from eventmesh.deployment.model import Deployment
from eventmesh.deployment.platforms import Kubernetes
from eventmesh.packaging.secret_files import DEFINITIONS, RABBITMQ

TLS: Final = "rabbitmq-tls"
DEFINITIONS_SECRET: Final = "rabbitmq-definitions"  # noqa: S105 - the name of one
_FOLDER: Final = "/etc/eventmesh"


def rabbitmq(deployment: Deployment, kubernetes: Kubernetes) -> Iterator[dict[str, Any]]:
    """Yield the cluster, which loads users, permissions and exchanges at each start."""
    about = metadata(deployment, kubernetes, RABBITMQ)
    broker = deployment.broker
    limits = {"cpu": f"{broker.cpus:g}", "memory": str(broker.memory)}
    stored = kubernetes.storage_class
    yield {
        "apiVersion": "rabbitmq.com/v1beta1",
        "kind": "RabbitmqCluster",
        "metadata": about,
        "spec": {
            "replicas": broker.nodes,
            "resources": {"requests": limits, "limits": limits},
            "persistence": {
                "storage": str(broker.storage),
                **({"storageClassName": stored} if stored else {}),
            },
            "tls": {"secretName": TLS, "disableNonTLSListeners": True},
            "rabbitmq": {
                "additionalConfig": f"load_definitions = {_FOLDER}/{DEFINITIONS}\n",
            },
            "override": {
                "statefulSet": {
                    "spec": {
                        "template": {
                            "spec": {
                                "containers": [
                                    {
                                        "name": RABBITMQ,
                                        "volumeMounts": [
                                            {
                                                "name": DEFINITIONS_SECRET,
                                                "mountPath": _FOLDER,
                                                "readOnly": True,
                                            }
                                        ],
                                    }
                                ],
                                "volumes": [
                                    {
                                        "name": DEFINITIONS_SECRET,
                                        "secret": {"secretName": DEFINITIONS_SECRET},
                                    }
                                ],
                            }
                        }
                    }
                }
            },
        },
    }
    clients = [
        {"podSelector": {"matchLabels": {USES_BROKER: "true"}}},
        {"namespaceSelector": {"matchLabels": {NAMESPACE: SCALER}}},
    ]
    nodes = {"podSelector": {"matchLabels": {NAME: RABBITMQ}}}
    yield {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": about,
        "spec": {
            "podSelector": {"matchLabels": {NAME: RABBITMQ}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": clients, "ports": [{"protocol": "TCP", "port": broker.port}]},
                # Nodes find and join each other by these (https://www.rabbitmq.com/docs/networking).
                {
                    "from": [nodes],
                    "ports": [{"protocol": "TCP", "port": port} for port in (4369, 25672)],
                },
            ],
        },
    }
