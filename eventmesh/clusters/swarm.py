"""Docker Swarm: the services of one stack.

A canary is a service of its own, made of the specification of the one that it belongs to. Swarm
keeps both, and replaces replicas by itself: nothing here has to run meanwhile.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from eventmesh.clusters.abc import (
    CANARY,
    LABEL,
    REVISION,
    Canary,
    ClusterError,
    ClusterService,
    Update,
)
from eventmesh.clusters.docker_api import DockerApi, NotFound

_STACK: Final = "com.docker.stack.namespace"
_OF: Final = f"{LABEL}.canary.of"
_NOTES: Final = f"{LABEL}.canary.note."
_ATTEMPTS: Final = 5
"""Times that a change is tried while others change the same service."""


class Swarm:
    """The services of a stack on a Swarm, whose engine is a manager."""

    def __init__(self, api: DockerApi, stack: str) -> None:
        self._api = api
        self._stack = stack

    async def services(self) -> Mapping[str, ClusterService]:
        found = {self._short_name(each): each for each in await self._list()}
        canaries = {
            of: each for each in found.values() if (of := each["Spec"].get("Labels", {}).get(_OF))
        }
        return {
            name: _describe(name, each, canaries.get(name))
            for name, each in found.items()
            if not each["Spec"].get("Labels", {}).get(_OF) and "Replicated" in each["Spec"]["Mode"]
        }

    async def exists(self) -> bool:
        """Whether the engine is a manager of a swarm with this stack."""
        swarm = _part(await self._api.get("/info"), "Swarm")
        return bool(swarm.get("ControlAvailable")) and bool(await self._find_all())

    async def _find_all(self) -> list[Any]:
        filters = {"label": [f"{_STACK}={self._stack}"]}
        found: list[Any] = await self._api.get("/services", filters=filters, status="true")
        return found

    async def _list(self) -> list[Any]:
        found = await self._find_all()
        if not found:
            raise ClusterError(
                f"the swarm has no stack {self._stack!r}: deploy it with 'docker stack deploy', or "
                "name another one with --project"
            )
        return found

    def _short_name(self, service: Any) -> str:
        name: str = service["Spec"]["Name"]
        return name.removeprefix(f"{self._stack}_")

    async def scale(self, service: str, replicas: int, idle: Collection[str] = ()) -> None:  # noqa: ARG002 - Swarm chooses
        def change(spec: dict[str, Any]) -> None:
            spec["Mode"]["Replicated"]["Replicas"] = replicas

        await self._change(service, change)

    async def start_canary(
        self, service: str, image: str, revision: str, replicas: int, notes: Mapping[str, str]
    ) -> None:
        spec = copy.deepcopy((await self._find(service))["Spec"])
        spec["Name"] = f"{spec['Name']}{CANARY}"
        spec["Labels"] = {
            **spec.get("Labels", {}),
            _OF: service,
            **{f"{_NOTES}{name}": text for name, text in notes.items()},
        }
        spec["Mode"] = {"Replicated": {"Replicas": replicas}}
        # A port that is published belongs to the service that publishes it.
        spec.get("EndpointSpec", {}).pop("Ports", None)
        _set_version(spec, image, revision)
        if f"{service}{CANARY}" in map(self._short_name, await self._list()):
            await self._change(f"{service}{CANARY}", lambda known: known.update(spec))
        else:
            await self._api.post("/services/create", spec)

    async def stop_canary(self, service: str) -> None:
        try:
            await self._api.delete(f"/services/{self._stack}_{service}{CANARY}")
        except NotFound:
            return  # It is gone already.

    async def update(self, service: str, image: str, revision: str) -> None:
        def change(spec: dict[str, Any]) -> None:
            _set_version(spec, image, revision)
            # A new one takes work before an old one stops to: nothing waits for a container.
            update = {**_part(spec, "UpdateConfig"), "Order": "start-first"}
            spec["UpdateConfig"] = {"Parallelism": 1, "FailureAction": "pause", **update}

        await self._change(service, change)

    async def find_update(self, service: str, revision: str) -> Update:
        found = await self._find(service)
        if _revision_of(found["Spec"]) != revision:
            return Update("failed", "the engine has taken the new version back")
        status = _part(found, "UpdateStatus")
        state, message = status.get("State"), status.get("Message", "")
        new, wanted = await self._count(found, revision), _replicas_of(found["Spec"])
        detail = f"{new} of {wanted} replicas are of the new version"
        # Swarm forgets the state of the last update, and takes a moment to begin with this one.
        if state == "completed" or (state is None and new >= wanted):
            return Update("done", detail)
        if state in (None, "updating"):
            return Update("rolling", detail)
        return Update("failed", f"{state}: {message}; {detail}")

    async def _count(self, service: Any, revision: str) -> int:
        filters = {"service": [service["ID"]], "desired-state": ["running"]}
        tasks = await self._api.get("/tasks", filters=filters)
        running = [each for each in tasks if each["Status"]["State"] == "running"]
        return sum(f"{REVISION}={revision}" in _environment(each["Spec"]) for each in running)

    async def _find(self, service: str) -> Any:
        return await self._api.get(f"/services/{self._stack}_{service}")

    async def _change(self, service: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a specification, which nobody else has changed meanwhile."""
        for attempt in range(_ATTEMPTS):
            found = await self._find(service)
            spec = copy.deepcopy(found["Spec"])
            change(spec)
            if spec == found["Spec"]:
                return
            try:
                version = found["Version"]["Index"]
                await self._api.post(f"/services/{found['ID']}/update", spec, version=version)
            except ClusterError as error:
                if "out of sequence" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return


def _describe(name: str, service: Any, canary: Any) -> ClusterService:
    spec = service["Spec"]
    prefix = f"{LABEL}."
    return ClusterService(
        name,
        _image_of(spec),
        _replicas_of(spec),
        _running(service),
        _revision_of(spec),
        {
            label.removeprefix(prefix): text
            for label, text in spec.get("Labels", {}).items()
            if label.startswith(prefix)
        },
        None if canary is None else _describe_canary(canary),
    )


def _describe_canary(service: Any) -> Canary:
    spec = service["Spec"]
    notes = {
        label.removeprefix(_NOTES): text
        for label, text in spec["Labels"].items()
        if label.startswith(_NOTES)
    }
    return Canary(_image_of(spec), _revision_of(spec), _replicas_of(spec), _running(service), notes)


def _image_of(spec: Any) -> str:
    image: str = spec["TaskTemplate"]["ContainerSpec"]["Image"]
    return image


def _replicas_of(spec: Any) -> int:
    replicas: int = spec["Mode"]["Replicated"].get("Replicas", 1)
    return replicas


def _running(service: Any) -> int:
    running: int = _part(service, "ServiceStatus").get("RunningTasks", 0)
    return running


def _environment(task: Any) -> list[str]:
    environment: list[str] = task["ContainerSpec"].get("Env") or []
    return environment


def _revision_of(spec: Any) -> str:
    given = filter(_is_revision, _environment(spec["TaskTemplate"]))
    return next(given, "").partition("=")[2]


def _is_revision(variable: str) -> bool:
    return variable.partition("=")[0] == REVISION


def _part(document: Any, name: str) -> Any:
    """Return a part that the engine leaves out, or sends as null, where it is empty."""
    return document.get(name) or {}


def _set_version(spec: dict[str, Any], image: str, revision: str) -> None:
    container = spec["TaskTemplate"]["ContainerSpec"]
    kept = [each for each in _environment(spec["TaskTemplate"]) if not _is_revision(each)]
    container["Env"] = [*kept, f"{REVISION}={revision}"]
    container["Image"] = image
