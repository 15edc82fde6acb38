"""What the console asks a mesh for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.engine.mesh_results import MeshResults
from eventmesh.model.runs import Sight
from eventmesh.presence import Instance


class Source(Protocol):
    """The processes of a mesh, their runs, and their broker."""

    @property
    def broker(self) -> Broker: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def gateways(self) -> Collection[str] | None:
        """The users of gateways, where each service has a user of the broker."""
        ...

    @property
    def results(self) -> MeshResults:
        """What the stores of services remember of invocations."""
        ...

    def instances(self) -> Mapping[str, Instance]:
        """Return the processes that run, by their ids."""
        ...

    async def look(
        self, *, find: str = "", seconds: float = 5.0, most: int = 100, describe: str = ""
    ) -> Sequence[Sight]:
        """Ask all processes for runs; see `Question`. Who does not answer in time is left out.

        Raises BrokerUnavailable.
        """
        ...
