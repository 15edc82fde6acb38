"""A mesh of which no process runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.engine.mesh_results import MeshResults
from eventmesh.model.runs import Sight
from eventmesh.presence import Instance


class AbsentSource:
    """No process, and a broker that has nothing. See `Source`."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self.broker = broker
        self.clock = clock
        self.gateways: Collection[str] | None = None
        self.results = MeshResults(broker, clock, self._list_names)

    def instances(self) -> Mapping[str, Instance]:
        return {}

    async def look(
        self,
        *,
        find: str = "",  # noqa: ARG002  # the interface's
        seconds: float = 5.0,  # noqa: ARG002
        most: int = 100,  # noqa: ARG002
        describe: str = "",  # noqa: ARG002
    ) -> Sequence[Sight]:
        return ()

    async def _list_names(self) -> Sequence[str]:
        return ()
