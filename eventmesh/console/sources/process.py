"""The process that the console itself runs in, as the whole mesh."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.engine.mesh_results import MeshResults
from eventmesh.engine.spec import SourceContext
from eventmesh.model.runs import Question, Sight
from eventmesh.presence import Instance


class ProcessSource:
    """One process, which nobody has to ask over a broker. See `Source`."""

    def __init__(
        self,
        context: SourceContext,
        describe: Callable[[], Instance],
        look: Callable[[Question], Sight],
    ) -> None:
        self.broker: Broker = context.broker
        self.clock: Clock = context.clock
        self.gateways: Collection[str] | None = None
        self.results = MeshResults(context.broker, context.clock, self._list_names, context.results)
        self._describe = describe
        self._look = look

    def instances(self) -> Mapping[str, Instance]:
        instance = self._describe()
        return {instance.id: instance}

    async def look(
        self, *, find: str = "", seconds: float = 5.0, most: int = 100, describe: str = ""
    ) -> Sequence[Sight]:
        return [self._look(Question("", find, seconds, most, describe))]

    async def _list_names(self) -> Sequence[str]:
        return [function["name"] for function in self._describe().functions]
