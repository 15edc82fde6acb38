"""What reaches what: NetworkPolicies, and the one door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eventmesh.deployment.kubernetes.names import (
    NAME,
    NAMESPACE,
    PART_OF,
    metadata,
    object_name,
)
from eventmesh.deployment.model import (
    HTTP,
    MONITORING,
    OUTSIDE,
    Connection,
    Deployment,
    ServiceDeployment,
)
from eventmesh.deployment.platforms import Kubernetes

METADATA_ADDRESSES = "169.254.0.0/16"
"""Where clouds tell their credentials: no task needs them."""


def policies(deployment: Deployment, kubernetes: Kubernetes) -> Iterator[dict[str, Any]]:
    """Yield a policy for each service, made of its connections: nothing else passes."""
    connections = list(deployment.connections())
    for service in deployment.running:
        name = object_name(service.name)
        sources = [each for each in connections if each.destination == service.name]
        targets = [each for each in connections if each.source == service.name]
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(deployment, kubernetes, name),
            "spec": {
                "podSelector": {"matchLabels": {NAME: name, PART_OF: deployment.name}},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [_ingress(each, kubernetes) for each in sources],
                "egress": [_NAMES, *(_egress(deployment, each, kubernetes) for each in targets)],
            },
        }


_NAMES: dict[str, Any] = {
    "to": [{"namespaceSelector": {"matchLabels": {NAMESPACE: "kube-system"}}}],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}


def _ingress(connection: Connection, kubernetes: Kubernetes) -> dict[str, Any]:
    namespace = {
        OUTSIDE: kubernetes.door_namespace,
        MONITORING: kubernetes.monitoring_namespace,
    }[connection.source]
    return {
        "from": [{"namespaceSelector": {"matchLabels": {NAMESPACE: namespace}}}],
        "ports": [{"protocol": "TCP", "port": connection.port}],
    }


def _egress(
    deployment: Deployment, connection: Connection, kubernetes: Kubernetes
) -> dict[str, Any]:
    everywhere = {"ipBlock": {"cidr": "0.0.0.0/0", "except": [METADATA_ADDRESSES]}}
    if connection.destination == OUTSIDE:
        return {"to": [everywhere]}
    ports = [{"protocol": "TCP", "port": connection.port}]
    if deployment.broker.own:
        return {"to": [{"podSelector": {"matchLabels": {NAME: "rabbitmq"}}}], "ports": ports}
    if kubernetes.broker_namespace:
        namespace = {"matchLabels": {NAMESPACE: kubernetes.broker_namespace}}
        return {"to": [{"namespaceSelector": namespace}], "ports": ports}
    return {"to": [everywhere], "ports": ports}


def door(
    deployment: Deployment, gateway: ServiceDeployment, kubernetes: Kubernetes
) -> Iterator[dict[str, Any]]:
    """Yield the Service of the gateway, and what leads to it from outside."""
    about = metadata(deployment, kubernetes, object_name(gateway.name))
    port = gateway.task.port(HTTP)
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": about,
        "spec": {
            "selector": {NAME: about["name"], PART_OF: deployment.name},
            "ports": [{"name": HTTP, "port": port, "targetPort": HTTP}],
        },
    }
    if kubernetes.ingress == "ingress":
        yield _ingress_of(about, gateway, kubernetes, port)
    elif kubernetes.ingress == "gateway":
        yield _route_of(about, gateway, kubernetes, port)


def _ingress_of(
    about: dict[str, Any], gateway: ServiceDeployment, kubernetes: Kubernetes, port: int
) -> dict[str, Any]:
    backend = {"service": {"name": about["name"], "port": {"number": port}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    hosts = [{"host": host, "http": {"paths": [path]}} for host in gateway.hosts]
    tls = kubernetes.tls_secret
    named = kubernetes.ingress_class
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": about,
        "spec": {
            **({"ingressClassName": named} if named else {}),
            **({"tls": [{"hosts": list(gateway.hosts), "secretName": tls}]} if tls else {}),
            "rules": hosts or [{"http": {"paths": [path]}}],
        },
    }


def _route_of(
    about: dict[str, Any], gateway: ServiceDeployment, kubernetes: Kubernetes, port: int
) -> dict[str, Any]:
    namespace, _, parent = kubernetes.parent.rpartition("/")
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": about,
        "spec": {
            "parentRefs": [{"name": parent, **({"namespace": namespace} if namespace else {})}],
            **({"hostnames": list(gateway.hosts)} if gateway.hosts else {}),
            "rules": [{"backendRefs": [{"name": about["name"], "port": port}]}],
        },
    }
