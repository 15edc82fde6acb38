"""Announces this process to the mesh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.aio.tasks import task_group
from eventmesh.model.errors import InvocationError
from eventmesh.model.topology import PRESENCE, Binding, presence_queue, to_presence
from eventmesh.presence.instance import (
    ALIVE,
    GONE,
    HEARTBEATS,
    HERE,
    INSTANCES,
    INTERVAL,
    QUERY,
    Heartbeat,
    Instance,
    presence_message,
)

GOODBYE_SECONDS: Final = 2.0
"""Seconds that the goodbye may take."""

LEAVE_SECONDS: Final = 1.0
"""Seconds that the consumer of questions may take to stop after that."""

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def announce(
    broker: Broker, clock: Clock, describe: Callable[[], Instance]
) -> AsyncGenerator[None]:
    """Announce this process to the mesh while entered; `describe` gives its current state.

    While the broker is away nothing is sent, and the other processes take this one for gone.
    """
    announcer = _Announcer(broker, clock, describe)
    queue = presence_queue(describe().id, "asked")
    await broker.declare([queue], [Binding(queue, QUERY, PRESENCE)])
    consuming = broker.consume(queue, announcer.on_query, prefetch=1)
    async with _leave_in_time(consuming, clock), task_group() as tasks:
        announcing = tasks.create_task(announcer.run())
        try:
            yield
        finally:
            announcing.cancel()
            await announcer.say_goodbye()


@asynccontextmanager
async def _leave_in_time(
    consuming: AbstractAsyncContextManager[object], clock: Clock
) -> AsyncGenerator[None]:
    """Enter `consuming`, and leave it within `LEAVE_SECONDS`: what runs needs the grace time."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(consuming)
        yield
        try:
            with TimeLimit(clock, LEAVE_SECONDS):
                await stack.aclose()
        except TimeoutError:
            _log.debug("whether others still ask this process was not settled in time")


class _Announcer:
    def __init__(self, broker: Broker, clock: Clock, describe: Callable[[], Instance]) -> None:
        self._broker = broker
        self._clock = clock
        self._describe = describe
        self._queried = asyncio.Event()

    def on_query(self, delivery: Delivery) -> None:
        """Take the question which processes run."""
        delivery.ack()
        self._queried.set()

    async def run(self) -> None:
        """Announce this process and send heartbeats until cancelled."""
        await self._send(HERE)
        while True:
            try:
                with TimeLimit(self._clock, INTERVAL):
                    await self._queried.wait()
            except TimeoutError:
                await self._send(ALIVE)
            else:
                self._queried.clear()
                await self._send(HERE)

    async def say_goodbye(self) -> None:
        """Announce that this process stops, within `GOODBYE_SECONDS`."""
        try:
            with TimeLimit(self._clock, GOODBYE_SECONDS):
                await self._send(GONE)
        except TimeoutError:
            _log.debug("the goodbye of this process was not sent in time")

    async def _send(self, kind: str) -> None:
        instance = self._describe()
        if kind == HERE:
            body = INSTANCES.dump_json(instance)
        else:
            beat = Heartbeat(instance.id, instance.running, instance.waiting)
            body = HEARTBEATS.dump_json(beat)
        try:
            await self._broker.publish(
                to_presence(kind), presence_message(kind, body, self._clock.now())
            )
        except InvocationError as error:
            _log.debug("the presence message %r was not sent: %s", kind, error)
