"""What is left at the broker of a mesh, for a process that is asked about it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, sleep
from eventmesh.brokers.registry import check_shared, find_adapter
from eventmesh.engine.codecs.trust import gateways_in
from eventmesh.engine.upkeep.leftovers import Fate, Remains, Removed
from eventmesh.leftovers.names import list_recorded_functions
from eventmesh.leftovers.prune import Pruner
from eventmesh.presence import observe
from eventmesh.presence.answers import check_accepting, wait_for_answers


@asynccontextmanager
async def open_pruner(
    url: str, broker: Broker, clock: Clock, wait: float | None = None
) -> AsyncGenerator[Pruner]:
    """Ask which processes run, and yield what finds and removes the rest.

    `broker` is the one at `url`. The processes have `wait` seconds to answer, or as long as takes
    an observer to have asked them all. Raises SettingsError for a broker inside one process,
    BrokerUnavailable and AccessDenied.
    """
    check_shared(url)
    gateways = gateways_in(url)
    async with (
        find_adapter(url).inspect(url, "eventmesh prune") as inspector,
        observe(broker, clock, lambda _: None, gateways) as observer,
    ):
        if wait is None:
            await wait_for_answers(observer, broker, clock)
        else:
            await sleep(clock, wait)
        # During an alarm no process can answer, and each would seem to be gone.
        await check_accepting(broker)
        yield Pruner(broker, inspector, clock, lambda: list(observer.instances.values()), gateways)


class MeshLeftovers:
    """Looks at the broker anew for each question. See `ProcessLeftovers`."""

    __slots__ = ("_broker", "_clock", "_url")

    def __init__(self, url: str, broker: Broker, clock: Clock) -> None:
        self._url = url
        self._broker = broker
        self._clock = clock

    async def functions(self) -> Collection[str]:
        return await list_recorded_functions(self._broker, self._url)

    async def find(self, name: str = "") -> Sequence[Remains]:
        async with open_pruner(self._url, self._broker, self._clock) as pruner:
            return await pruner.find(name)

    async def remove(self, name: str, fate: Fate) -> Removed:
        async with open_pruner(self._url, self._broker, self._clock) as pruner:
            return await pruner.remove(name, fate)


def open_leftovers(url: str, broker: Broker, clock: Clock) -> MeshLeftovers | None:
    """Return what is left at the broker at `url`; None if that lives inside this process.

    Nothing is left there by others, and it lists its own queues.
    """
    return MeshLeftovers(url, broker, clock) if find_adapter(url).shared else None
