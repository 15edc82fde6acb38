"""Names and labels of Kubernetes objects (RFC 1123 labels)."""

from __future__ import annotations

from typing import Any, Final

from eventmesh.deployment.model import Deployment
from eventmesh.deployment.platforms import Kubernetes
from eventmesh.model.errors import SettingsError

PART_OF: Final = "app.kubernetes.io/part-of"
NAME: Final = "app.kubernetes.io/name"
NAMESPACE: Final = "kubernetes.io/metadata.name"
USES_BROKER: Final = "eventmesh/uses-broker"
SCALER: Final = "keda"


def object_name(name: str) -> str:
    """Return the name of the objects of a service, whose own may have capitals and '_'."""
    return name.lower().replace("_", "-").strip("-")


def check_names(deployment: Deployment) -> None:
    """Raise SettingsError for services whose objects would have one name, or none."""
    names: dict[str, str] = {}
    for task in deployment.tasks:
        found = object_name(task.name)
        if not found or not found[0].isalpha() or found == "rabbitmq":
            raise SettingsError(
                f"the service {task.name!r} has no name of its own on Kubernetes: rename it, with "
                "a letter at the beginning"
            )
        other = names.setdefault(found, task.name)
        if other != task.name:
            raise SettingsError(
                f"the services {other!r} and {task.name!r} would both be {found!r} on Kubernetes: "
                "rename one of them"
            )


def metadata(deployment: Deployment, kubernetes: Kubernetes, name: str) -> dict[str, Any]:
    """Return the metadata of an object that belongs to a service."""
    return {
        "name": name,
        "namespace": kubernetes.namespace or deployment.name,
        "labels": {NAME: name, PART_OF: deployment.name},
    }
