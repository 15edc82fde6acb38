"""All processes of a mesh, asked over its broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, SystemClock, TimeLimit
from eventmesh.engine.mesh_results import MeshResults
from eventmesh.model.runs import Sight
from eventmesh.presence import Instance, Looker, Observer, look_into, observe

LOOK_SECONDS: Final = 1.0
"""Seconds that processes have to answer a question."""


class _Answers:
    """The answers to one question after another."""

    def __init__(self) -> None:
        self.sights: dict[str, Sight] = {}
        self.came = asyncio.Event()

    def take(self, sight: Sight) -> None:
        self.sights[sight.instance] = sight
        self.came.set()


class MeshSource:
    """The processes that announce themselves at a broker. See `Source`."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        gateways: Collection[str] | None,
        observer: Observer,
        asking: tuple[Looker, _Answers],
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.gateways = gateways
        self.results = MeshResults(broker, clock, self._list_names)
        self.observer = observer
        self._looker, self._answers = asking
        self._turn = asyncio.Lock()

    def instances(self) -> Mapping[str, Instance]:
        return self.observer.instances

    async def look(
        self, *, find: str = "", seconds: float = 5.0, most: int = 100, describe: str = ""
    ) -> Sequence[Sight]:
        async with self._turn:
            self._answers.sights.clear()
            await self._looker.ask(find=find, seconds=seconds, most=most, describe=describe)
            try:
                with TimeLimit(self.clock, LOOK_SECONDS):
                    while not self._asked() <= self._answers.sights.keys():
                        self._answers.came.clear()
                        await self._answers.came.wait()
            except TimeoutError:
                pass  # Who hangs, or is of an older version, does not answer.
            return list(self._answers.sights.values())

    def _asked(self) -> set[str]:
        """Return who is to answer: a gateway runs no functions."""
        return {
            key
            for key, instance in self.observer.instances.items()
            if instance.functions and not instance.stand_in
        }

    async def _list_names(self) -> Sequence[str]:
        return [
            function["name"]
            for instance in self.observer.instances.values()
            for function in instance.functions
        ]


@asynccontextmanager
async def open_mesh_source(
    broker: Broker, gateways: Collection[str] | None, clock: Clock | None = None
) -> AsyncGenerator[MeshSource]:
    """Observe the processes of the mesh on a broker while entered; they take a moment to answer."""
    clock = clock or SystemClock()
    answers = _Answers()
    async with (
        observe(broker, clock, lambda _: None, gateways) as observer,
        look_into(broker, clock, answers.take, gateways) as looker,
    ):
        yield MeshSource(broker, clock, gateways, observer, (looker, answers))
