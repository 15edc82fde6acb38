"""What is asked of an engine that runs services, whichever it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Final, Literal, Protocol, TypeAlias

from eventmesh.model.errors import EventmeshError
from eventmesh.model.value import value

REVISION: Final = "EVENTMESH_REVISION"
"""The variable by which a container knows what its version is called."""

CANARY: Final = "-canary"
"""What the name of a canary has behind that of its service."""

LABEL: Final = "eventmesh"
"""The first word of the labels that mean something here, such as `eventmesh.autoscale`."""


class ClusterError(EventmeshError):
    """The engine refused what was asked of it, or has not what was named."""


class ClusterUnavailable(ClusterError):
    """The engine does not answer."""


@value
class Canary:
    """The new version of a service beside the old one, and what whoever started it has noted."""

    image: str
    revision: str
    replicas: int
    running: int
    notes: Mapping[str, str] = field(default_factory=dict[str, str])


@value
class ClusterService:
    """A service as an engine knows it.

    `replicas` are wanted, and `running` are those that the engine sees. `labels` are those that
    begin with `eventmesh.`, without that. `revision` is what its version is called, "" for nothing.
    """

    name: str
    image: str
    replicas: int
    running: int
    revision: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    canary: Canary | None = None


Stage: TypeAlias = Literal["rolling", "done", "failed"]


@value
class Update:
    """How far the replacement of a service's replicas is; `detail` is for people."""

    stage: Stage
    detail: str


class Cluster(Protocol):
    """An engine, and one project or stack of it.

    Every method raises ClusterUnavailable if the engine does not answer within a bound, and
    ClusterError if it refuses. What is repeated does no harm.
    """

    async def services(self) -> Mapping[str, ClusterService]:
        """Return the services by name."""
        ...

    async def scale(self, service: str, replicas: int, idle: Collection[str] = ()) -> None:
        """Have so many replicas. Those that go get SIGTERM and their grace time.

        `idle` are host names of replicas that do nothing: they go first, where the engine lets one
        choose.
        """
        ...

    async def start_canary(
        self, service: str, image: str, revision: str, replicas: int, notes: Mapping[str, str]
    ) -> None:
        """Run another version of a service beside it, and keep `notes` with it."""
        ...

    async def stop_canary(self, service: str) -> None:
        """Stop and remove the canary of a service; its replicas get their grace time."""
        ...

    async def update(self, service: str, image: str, revision: str) -> None:
        """Begin to replace the replicas of a service, a new one first and then an old one."""
        ...

    async def find_update(self, service: str, revision: str) -> Update:
        """Return how far that is."""
        ...
