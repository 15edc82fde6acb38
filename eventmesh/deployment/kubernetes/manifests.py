"""The files of a deployment on Kubernetes: manifests, and a kustomization that adds the secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eventmesh.deployment.databases import refuse_database
from eventmesh.deployment.kubernetes.access import door, policies
from eventmesh.deployment.kubernetes.autoscaling import authentication, scaler
from eventmesh.deployment.kubernetes.names import PART_OF, check_names, object_name
from eventmesh.deployment.kubernetes.rabbitmq import DEFINITIONS_SECRET, TLS, rabbitmq
from eventmesh.deployment.kubernetes.workload import workload
from eventmesh.deployment.model import Deployment
from eventmesh.deployment.platforms import Kubernetes
from eventmesh.deployment.scaling import check_minimum
from eventmesh.deployment.yaml_text import dump_all, dump_yaml
from eventmesh.packaging.certificates import CA, SERVER, SERVER_KEY
from eventmesh.packaging.secret_files import DEFINITIONS

KUSTOMIZATION: Final = "kustomization.yaml"
_HEADER: Final = "# Written by `eventmesh export kubernetes`; edit it freely.\n\n"


def build_manifests(
    deployment: Deployment, kubernetes: Kubernetes
) -> dict[str, list[dict[str, Any]]]:
    """Return the objects of a deployment by the names of their files; secrets are not among them.

    Raises SettingsError for services whose objects would have one name, for those with routes
    that may have no task, and for a database of the deployment's own.
    """
    check_names(deployment)
    check_minimum(deployment, "on Kubernetes")
    if deployment.database is not None:
        raise refuse_database(deployment.databases, "an export for Kubernetes")
    namespace = kubernetes.namespace or deployment.name
    about = {"name": namespace, "labels": {PART_OF: deployment.name, **_RESTRICTED}}
    files: dict[str, list[dict[str, Any]]] = {
        "namespace.yaml": [{"apiVersion": "v1", "kind": "Namespace", "metadata": about}]
    }
    if deployment.broker.own:
        files["rabbitmq.yaml"] = list(rabbitmq(deployment, kubernetes))
    of_policies = {each["metadata"]["name"]: each for each in policies(deployment, kubernetes)}
    for service in deployment.running:
        name = object_name(service.name)
        files[f"{name}.yaml"] = [
            *workload(deployment, service, kubernetes),
            of_policies[name],
            *scaler(deployment, service, kubernetes),
            *(door(deployment, service, kubernetes) if service.public else ()),
        ]
    kinds = [each["kind"] for documents in files.values() for each in documents]
    if "ScaledObject" in kinds:
        files["keda.yaml"] = list(authentication(deployment, kubernetes))
    return files


_RESTRICTED: Final = {"pod-security.kubernetes.io/warn": "restricted"}
"""Says so when a pod has more rights than ours (Pod Security Standards)."""


def build_kustomization(
    deployment: Deployment, kubernetes: Kubernetes, files: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the kustomization of these files: it makes the secrets of files in `secrets/`."""
    namespace = kubernetes.namespace or deployment.name
    secrets = [
        {"name": object_name(each.name), "files": [f"secrets/{each.name}"]}
        for each in deployment.secrets
    ]
    if deployment.broker.own:
        secrets += [
            {
                "name": TLS,
                "type": "kubernetes.io/tls",
                "files": [f"tls.crt=secrets/{SERVER}", f"tls.key=secrets/{SERVER_KEY}"],
            },
            {"name": DEFINITIONS_SECRET, "files": [f"secrets/{DEFINITIONS}"]},
        ]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": list(files),
        "secretGenerator": secrets,
        # Other resources name them, also such that kustomize does not know. Tasks read a changed
        # password again without a restart.
        "generatorOptions": {
            "disableNameSuffixHash": True,
            "labels": {PART_OF: deployment.name},
        },
    }


def render_manifests(deployment: Deployment, kubernetes: Kubernetes) -> dict[str, str]:
    """Return the texts of all files by their names. Raises as `build_manifests` does."""
    files = build_manifests(deployment, kubernetes)
    texts = {name: _HEADER + dump_all(documents) for name, documents in files.items()}
    kustomization = build_kustomization(deployment, kubernetes, files)
    return {**texts, KUSTOMIZATION: _HEADER + dump_yaml(kustomization)}


def missing_secrets(deployment: Deployment, folder: Path) -> list[Path]:
    """Return the files of secrets that somebody else has to put into the folder."""
    given = [each.name for each in deployment.secrets if each.given]
    if not deployment.broker.own and deployment.broker.private_authority:
        given.append(CA)
    return [folder / name for name in given if not (folder / name).exists()]
