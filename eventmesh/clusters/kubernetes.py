"""Kubernetes, through `kubectl`, which knows where it is and who one is there.

A service is a Deployment, and its canary another one, whose pods have the same labels: what the
Service of it leads to, and what a NetworkPolicy allows, holds for both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from eventmesh.clusters.abc import (
    CANARY,
    LABEL,
    REVISION,
    Canary,
    ClusterError,
    ClusterService,
    ClusterUnavailable,
    Update,
)

ANSWER_SECONDS: Final = 30.0
"""Seconds that one call of kubectl may take."""

_PREFIX: Final = f"{LABEL}."
_OF: Final = f"{LABEL}.canary.of"
_NOTES: Final = f"{LABEL}.canary.note."
_VERSION: Final = "eventmesh-version"
"""The label of pods by which a canary's Deployment tells its own from those of the service."""


class Kubernetes:
    """The Deployments of one namespace."""

    def __init__(self, namespace: str, command: str = "kubectl") -> None:
        self._namespace = namespace
        self._command = command

    async def services(self) -> Mapping[str, ClusterService]:
        found = (await self._get("deployments"))["items"]
        canaries = {of: each for each in found if (of := _annotations(each).get(_OF))}
        return {
            each["metadata"]["name"]: _describe(each, canaries.get(each["metadata"]["name"]))
            for each in found
            if not _annotations(each).get(_OF)
        }

    async def scale(self, service: str, replicas: int, idle: Collection[str] = ()) -> None:
        # What does nothing is deleted first: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost
        for pod in sorted(idle):
            await self._run(
                *("annotate", "pod", pod, "--overwrite"),
                "controller.kubernetes.io/pod-deletion-cost=-100",
            )
        await self._run("scale", f"deployment/{service}", f"--replicas={replicas}")

    async def start_canary(
        self, service: str, image: str, revision: str, replicas: int, notes: Mapping[str, str]
    ) -> None:
        found = await self._get(f"deployment/{service}")
        given = {_OF: service, **{f"{_NOTES}{name}": text for name, text in notes.items()}}
        spec = found["spec"] | {"replicas": replicas}
        spec["selector"] = {
            "matchLabels": {**spec["selector"].get("matchLabels", {}), _VERSION: "canary"}
        }
        template = spec["template"]
        template["metadata"]["labels"] = {**template["metadata"]["labels"], _VERSION: "canary"}
        container = template["spec"]["containers"][0]
        environment = [each for each in container.get("env", []) if each["name"] != REVISION]
        container["env"] = [*environment, {"name": REVISION, "value": revision}]
        container["image"] = image
        canary = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": f"{service}{CANARY}",
                "labels": found["metadata"].get("labels", {}),
                "annotations": given,
            },
            "spec": spec,
        }
        await self._run("apply", "--filename", "-", given=orjson.dumps(canary))

    async def stop_canary(self, service: str) -> None:
        await self._run(
            *("delete", "deployment", f"{service}{CANARY}", "--ignore-not-found", "--wait=false")
        )

    async def update(self, service: str, image: str, revision: str) -> None:
        found = await self._get(f"deployment/{service}")
        name = found["spec"]["template"]["spec"]["containers"][0]["name"]
        container = {
            "name": name,
            "image": image,
            "env": [{"name": REVISION, "value": revision}],
        }
        patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
        await self._run("patch", f"deployment/{service}", "--patch", orjson.dumps(patch).decode())

    async def find_update(self, service: str, revision: str) -> Update:
        found = await self._get(f"deployment/{service}")
        status, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
        updated, all_there = status.get("updatedReplicas", 0), status.get("replicas", 0)
        detail = f"{updated} of {wanted} replicas are of the new version"
        if _revision_of(found) != revision:
            return Update("failed", "somebody has changed the version meanwhile")
        for condition in status.get("conditions", []):
            if condition["type"] == "Progressing" and condition["status"] == "False":
                return Update("failed", f"{condition.get('message', '')}; {detail}")
        observed = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        available = status.get("availableReplicas", 0)
        done = observed and updated == all_there == wanted and available >= wanted
        return Update("done" if done else "rolling", detail)

    async def _get(self, what: str) -> Any:
        return orjson.loads(await self._run("get", what, "--output", "json"))

    async def _run(self, *arguments: str, given: bytes = b"") -> bytes:
        """Call kubectl, and return what it prints."""
        command = (self._command, "--namespace", self._namespace, *arguments)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=os.environ,
            )
        except OSError as error:
            raise ClusterUnavailable(
                f"{self._command} cannot be run ({error.strerror}): install it"
            ) from None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                out, errors = await process.communicate(given)
        except TimeoutError:
            raise ClusterUnavailable(
                f"kubectl {arguments[0]} did not end within {ANSWER_SECONDS:g} s"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = errors.decode(errors="replace").strip()
            away = "Unable to connect" in said or "connection refused" in said
            raise (ClusterUnavailable if away else ClusterError)(f"kubectl {arguments[0]}: {said}")
        return out


def _annotations(deployment: Any) -> dict[str, str]:
    annotations: dict[str, str] = deployment["metadata"].get("annotations") or {}
    return annotations


def _container(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]["containers"][0]


def _revision_of(deployment: Any) -> str:
    environment = _container(deployment).get("env", [])
    return next((each.get("value", "") for each in environment if each["name"] == REVISION), "")


def _describe(deployment: Any, canary: Any) -> ClusterService:
    annotations = _annotations(deployment)
    return ClusterService(
        deployment["metadata"]["name"],
        _container(deployment)["image"],
        deployment["spec"].get("replicas", 1),
        deployment.get("status", {}).get("readyReplicas", 0),
        _revision_of(deployment),
        {
            name.removeprefix(_PREFIX): text
            for name, text in annotations.items()
            if name.startswith(_PREFIX)
        },
        None if canary is None else _describe_canary(canary),
    )


def _describe_canary(deployment: Any) -> Canary:
    notes = {
        name.removeprefix(_NOTES): text
        for name, text in _annotations(deployment).items()
        if name.startswith(_NOTES)
    }
    return Canary(
        _container(deployment)["image"],
        _revision_of(deployment),
        deployment["spec"].get("replicas", 1),
        deployment.get("status", {}).get("readyReplicas", 0),
        notes,
    )
