"""Docker Compose: the containers of one project.

Compose is a command, and no process that keeps a number of containers: so containers are started,
copied and stopped here, with the labels by which Compose knows them. One that is stopped is kept,
to be started again: there is always one to copy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from eventmesh.clusters.abc import (
    LABEL,
    REVISION,
    Canary,
    ClusterError,
    ClusterService,
    Update,
)
from eventmesh.clusters.docker_api import DockerApi, NotFound
from eventmesh.model.value import value

_PROJECT: Final = "com.docker.compose.project"
_SERVICE: Final = "com.docker.compose.service"
_NUMBER: Final = "com.docker.compose.container-number"
_ONE_OFF: Final = "com.docker.compose.oneoff=False"
_CANARY: Final = f"{LABEL}.canary.revision"
_STABLE: Final = f"{LABEL}.revision"
_NOTES: Final = f"{LABEL}.canary.note."

_RUNNING: Final = ("running", "restarting")
_STOPPED: Final = ("exited", "created")

STOP_SECONDS: Final = 900.0
"""Seconds that a container may take to stop: the engine kills it after the time it was given."""

READY_SECONDS: Final = 120.0
"""Seconds that a new container may take until it is healthy, before an old one is stopped."""

_LOOK_SECONDS: Final = 0.5

_log: Final = logging.getLogger(__name__)


@value
class _Container:
    id: str
    service: str
    number: int
    state: str
    image: str
    labels: Mapping[str, str]

    @property
    def is_canary(self) -> bool:
        return _CANARY in self.labels

    @property
    def revision(self) -> str:
        return self.labels.get(_CANARY, self.labels.get(_STABLE, ""))


class Compose:
    """The services of a Compose project; while entered it stops and replaces containers."""

    def __init__(self, api: DockerApi, project: str) -> None:
        self._api = api
        self._project = project
        self._tasks = asyncio.TaskGroup()
        self._stopping: set[str] = set()
        self._updates: dict[str, tuple[str, asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An update goes on when it is begun again. What is being stopped is waited for, unless we
        # are cancelled: some engines give a stop up together with its request.
        for _, task in self._updates.values():
            task.cancel()
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        await self._tasks.__aexit__(
            *((kind, error, traceback) if cancelled else (None, None, None))
        )

    async def services(self) -> Mapping[str, ClusterService]:
        containers = await self._list()
        names = dict.fromkeys(each.service for each in containers)
        return {
            name: _describe(name, [each for each in containers if each.service == name])
            for name in names
        }

    async def _list(self) -> list[_Container]:
        filters = {"label": [f"{_PROJECT}={self._project}", _ONE_OFF]}
        found = await self._api.get("/containers/json", all="true", filters=filters)
        containers = [
            _Container(
                each["Id"],
                each["Labels"][_SERVICE],
                int(each["Labels"].get(_NUMBER, "1")),
                "stopping" if each["Id"] in self._stopping else each["State"],
                each["Image"],
                each["Labels"],
            )
            for each in found
        ]
        if not containers:
            raise ClusterError(
                f"the engine has no container of a project {self._project!r}: start it with "
                "'docker compose up', or name another one with --project"
            )
        return sorted(containers, key=lambda each: each.number)

    async def _of(self, service: str, *, canary: bool) -> list[_Container]:
        return [
            each
            for each in await self._list()
            if each.service == service and each.is_canary == canary
        ]

    async def scale(self, service: str, replicas: int, idle: Collection[str] = ()) -> None:
        containers = await self._of(service, canary=False)
        running = [each for each in containers if each.state in _RUNNING]
        if replicas < len(running):
            # The host name of a container is the beginning of its id, unless it was given one.
            order = sorted(running, key=lambda each: (each.id[:12] not in idle, -each.number))
            for container in order[: len(running) - replicas]:
                self._stop(container)
            return
        stopped = [each for each in containers if each.state in _STOPPED]
        if running:
            # An old version, which an update has left behind, is not started again.
            stopped = [each for each in stopped if each.image == running[0].image]
        missing = replicas - len(running)
        for container in stopped[:missing]:
            await self._api.post(f"/containers/{container.id}/start")
        for _ in range(missing - len(stopped)):
            await self._copy(service, {}, None, "")

    async def _copy(
        self, service: str, labels: Mapping[str, str], image: str | None, revision: str
    ) -> str:
        """Start a container as those of the service are, and return its id."""
        everything = [each for each in await self._list() if each.service == service]
        models = [each for each in everything if not each.is_canary] or everything
        if not models:
            raise ClusterError(
                f"{service!r} has no container to be copied: make one with 'docker compose up "
                f"--no-start {service}'"
            )
        model = next((each for each in models if each.state in _RUNNING), models[0])
        inspected = await self._api.get(f"/containers/{model.id}/json")
        number = max(each.number for each in everything) + 1
        body = _copied(inspected, {**labels, _NUMBER: str(number)}, image, revision)
        name = f"{self._project}-{service}-{number}"
        made = await self._api.post("/containers/create", body, name=name)
        for network, settings in list(inspected["NetworkSettings"]["Networks"].items())[1:]:
            joined = {"Container": made["Id"], "EndpointConfig": _endpoint(settings, model.id)}
            await self._api.post(f"/networks/{network}/connect", joined)
        await self._api.post(f"/containers/{made['Id']}/start")
        started: str = made["Id"]
        return started

    def _stop(self, container: _Container, *, remove: bool = False) -> None:
        """Have a container stopped, which takes its grace time, without waiting for that."""
        if container.id not in self._stopping:
            self._stopping.add(container.id)
            self._tasks.create_task(self._stop_now(container.id, remove=remove))

    async def _stop_now(self, id: str, *, remove: bool) -> None:
        try:
            # Without a time the engine takes the container's own: its stop_grace_period.
            await self._api.post(f"/containers/{id}/stop", seconds=STOP_SECONDS)
            if remove:
                await self._api.delete(f"/containers/{id}")
        except NotFound:
            return
        except ClusterError as error:
            _log.warning("a container was not stopped: %s", error)
        finally:
            self._stopping.discard(id)

    async def start_canary(
        self, service: str, image: str, revision: str, replicas: int, notes: Mapping[str, str]
    ) -> None:
        labels = {_CANARY: revision, **{f"{_NOTES}{name}": text for name, text in notes.items()}}
        there = [each for each in await self._of(service, canary=True) if each.state in _RUNNING]
        for container in there[replicas:]:
            self._stop(container, remove=True)
        for _ in range(replicas - len(there)):
            await self._copy(service, labels, image, revision)

    async def stop_canary(self, service: str) -> None:
        for container in await self._of(service, canary=True):
            self._stop(container, remove=True)

    async def update(self, service: str, image: str, revision: str) -> None:
        known = self._updates.get(service)
        if known is None or known[0] != revision or known[1].done():
            task = self._tasks.create_task(self._replace(service, image, revision))
            self._updates[service] = (revision, task)

    async def _replace(self, service: str, image: str, revision: str) -> None:
        """Replace the running containers one by one: a new one is ready before an old one goes."""
        try:
            while True:
                stable = await self._of(service, canary=False)
                old = [each for each in stable if each.revision != revision]
                for container in old:
                    if container.state in _STOPPED:
                        await self._api.delete(f"/containers/{container.id}")
                running = [each for each in old if each.state in _RUNNING]
                if not running:
                    return
                made = await self._copy(service, {_STABLE: revision}, image, revision)
                await self._wait_ready(made)
                self._stop(running[0], remove=True)
        except ClusterError as error:
            _log.warning("%s is not replaced further: %s", service, error)

    async def _wait_ready(self, id: str) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await self._is_ready(id):  # noqa: ASYNC110 - the engine is asked
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise ClusterError(
                f"the new container {id[:12]} was not healthy within {READY_SECONDS:g} s"
            ) from None

    async def _is_ready(self, id: str) -> bool:
        state = (await self._api.get(f"/containers/{id}/json"))["State"]
        if state["Status"] not in (*_RUNNING, "created"):
            raise ClusterError(f"the new container {id[:12]} ended: {state['Status']}")
        return "Health" not in state or state["Health"]["Status"] == "healthy"

    async def find_update(self, service: str, revision: str) -> Update:
        stable = await self._of(service, canary=False)
        new = [each for each in stable if each.revision == revision and each.state in _RUNNING]
        old = [each for each in stable if each.revision != revision and each.state in _RUNNING]
        detail = f"{len(new)} of {len(new) + len(old)} containers are of the new version"
        if not old:
            return Update("done", detail)
        known = self._updates.get(service)
        if known is not None and known[1].done():
            return Update("failed", detail)
        return Update("rolling", detail)


def _describe(name: str, containers: Sequence[_Container]) -> ClusterService:
    stable = [each for each in containers if not each.is_canary]
    running = [each for each in stable if each.state in _RUNNING]
    first = (running or stable or list(containers))[0]
    prefix = f"{LABEL}."
    canaries = [each for each in containers if each.is_canary and each.state in _RUNNING]
    return ClusterService(
        name,
        first.image,
        len(running),
        len(running),
        first.revision,
        {
            label.removeprefix(prefix): text
            for label, text in first.labels.items()
            if label.startswith(prefix)
        },
        _describe_canary(canaries) if canaries else None,
    )


def _describe_canary(canaries: Sequence[_Container]) -> Canary:
    first = canaries[0]
    notes = {
        label.removeprefix(_NOTES): text
        for label, text in first.labels.items()
        if label.startswith(_NOTES)
    }
    return Canary(first.image, first.revision, len(canaries), len(canaries), notes)


def _copied(
    inspected: Any, labels: Mapping[str, str], image: str | None, revision: str
) -> dict[str, Any]:
    """Return what makes a container like another one, perhaps of another image."""
    given = inspected["Config"]
    # Those that the engine had chosen by the container's id.
    config = {key: each for key, each in given.items() if key not in ("Hostname", "MacAddress")}
    if given["Hostname"] != inspected["Id"][:12]:
        config["Hostname"] = given["Hostname"]
    kept = {
        label: text
        for label, text in given["Labels"].items()
        if not label.startswith(f"{LABEL}.canary.")
    }
    config["Labels"] = {**kept, **labels}
    if image is not None:
        given_variables: list[str] = given["Env"] or []
        environment = [each for each in given_variables if each.partition("=")[0] != REVISION]
        config |= {"Image": image, "Env": [*environment, f"{REVISION}={revision}"]}
    networks = list(inspected["NetworkSettings"]["Networks"].items())[:1]
    return {
        **config,
        "HostConfig": inspected["HostConfig"],
        "NetworkingConfig": {
            "EndpointsConfig": {name: _endpoint(each, inspected["Id"]) for name, each in networks}
        },
    }


def _endpoint(settings: Any, id: str) -> dict[str, Any]:
    """Return how another container joins a network: under the names that all of them share."""
    given: list[str] = settings.get("Aliases") or []
    aliases = [each for each in given if each != id[:12]]
    return {"Aliases": aliases}
