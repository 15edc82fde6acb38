"""Telling the mesh that this process is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.aio.tasks import task_group
from eventmesh.model.errors import InvocationError
from eventmesh.model.topology import PRESENCE, Binding, presence_queue, to_presence
from eventmesh.presence.instance import (
    ALIVE,
    GONE,
    HERE,
    INSTANCES,
    INTERVAL,
    PULSES,
    QUERY,
    Heartbeat,
    Instance,
    note,
)

GOODBYE_SECONDS: Final = 2.0

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def announcing(
    broker: Broker, clock: Clock, describe: Callable[[], Instance]
) -> AsyncGenerator[None]:
    """Tell the mesh of this process while entered: `describe` says what it is just then.

    While the broker is away nothing is told; the others take note of that by themselves.
    """
    announcer = _Announcer(broker, clock, describe)
    queue = presence_queue(describe().id, "asked")
    await broker.declare([queue], [Binding(queue, QUERY, PRESENCE)])
    async with broker.consume(queue, announcer.on_query, prefetch=1), task_group() as tasks:
        announcing = tasks.create_task(announcer.run())
        try:
            yield
        finally:
            announcing.cancel()
            await announcer.say_goodbye()


class _Announcer:
    def __init__(self, broker: Broker, clock: Clock, describe: Callable[[], Instance]) -> None:
        self._broker = broker
        self._clock = clock
        self._describe = describe
        self._asked = asyncio.Event()

    def on_query(self, delivery: Delivery) -> None:
        """Somebody asks who is there."""
        delivery.ack()
        self._asked.set()

    async def run(self) -> None:
        """Announce this process, and show signs of life until cancelled."""
        await self._say(HERE)
        while True:
            try:
                with TimeLimit(self._clock, INTERVAL):
                    await self._asked.wait()
            except TimeoutError:
                await self._say(ALIVE)
            else:
                self._asked.clear()
                await self._say(HERE)

    async def say_goodbye(self) -> None:
        """Announce that this process stops; it waits for nothing that takes long."""
        try:
            with TimeLimit(self._clock, GOODBYE_SECONDS):
                await self._say(GONE)
        except TimeoutError:
            _log.debug("the mesh was not told that this process stops")

    async def _say(self, word: str) -> None:
        instance = self._describe()
        body = (
            INSTANCES.dump_json(instance)
            if word == HERE
            else PULSES.dump_json(Heartbeat(instance.id, instance.running))
        )
        try:
            await self._broker.publish(to_presence(word), note(word, body, self._clock.now()))
        except InvocationError as error:
            _log.debug("the mesh was not told that this process is %s: %s", word, error)
