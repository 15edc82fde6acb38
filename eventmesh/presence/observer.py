"""Knowing who is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, TypeAlias

from pydantic import ValidationError

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, sleep
from eventmesh.aio.tasks import task_group
from eventmesh.model.errors import InvocationError
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import PRESENCE, Binding, presence_queue, to_presence
from eventmesh.presence.instance import (
    ALIVE,
    GONE,
    HERE,
    INSTANCES,
    INTERVAL,
    PULSES,
    QUERY,
    Instance,
    note,
)

MISSED: Final = 3
"""Intervals without a sign of life after which a process counts as gone."""

ANSWER_SECONDS: Final = 1.0
"""How long all who are there may take to answer; who cannot be asked is asked again as soon."""

PREFETCH: Final = 100

_log: Final = logging.getLogger(__name__)

Changed: TypeAlias = Callable[[Mapping[str, Instance]], object]
"""Told all instances, by their ids, when one came or went, or is another than it was."""


@asynccontextmanager
async def observing(broker: Broker, clock: Clock, changed: Changed) -> AsyncGenerator[Observer]:
    """Know who is there, while entered. It takes a moment until all have answered."""
    observer = Observer(broker, clock, changed)
    queue = presence_queue(new_id(), "heard")
    await broker.declare([queue], [Binding(queue, word, PRESENCE) for word in (HERE, ALIVE, GONE)])
    async with (
        broker.consume(queue, observer.on_note, prefetch=PREFETCH),
        task_group() as tasks,
    ):
        watching = tasks.create_task(observer.run())
        try:
            yield observer
        finally:
            watching.cancel()


class Observer:
    """The processes of the mesh: `instances`, by their ids.

    `complete` is set once they were asked, and have had time to answer.
    """

    def __init__(self, broker: Broker, clock: Clock, changed: Changed) -> None:
        self.instances: dict[str, Instance] = {}
        self.complete = asyncio.Event()
        self._broker = broker
        self._clock = clock
        self._changed = changed
        self._silent: dict[str, int] = {}
        self._strangers = False

    def on_note(self, delivery: Delivery) -> None:
        """Take note of what somebody tells."""
        delivery.ack()
        message = delivery.message
        try:
            self._hear(message)
        except ValidationError as error:
            _log.warning("what a process tells of itself cannot be read (%s): %s", message, error)

    def _hear(self, message: Message) -> None:
        if message.type == HERE:
            self._take_in(INSTANCES.validate_json(message.body))
            return
        pulse = PULSES.validate_json(message.body)
        known = self.instances.get(pulse.id)
        if message.type == GONE:
            self._forget(pulse.id)
        elif known is None:
            self._strangers = True
        else:
            self._silent[pulse.id] = 0
            self.instances[pulse.id] = replace(known, running=pulse.running)

    def _take_in(self, instance: Instance) -> None:
        known = self.instances.get(instance.id)
        self._silent[instance.id] = 0
        self.instances[instance.id] = instance
        if known is None or replace(known, running=instance.running) != instance:
            self._changed(self.instances)

    async def run(self) -> None:
        """Ask who is there, and forget those of whom nothing is heard, until cancelled."""
        while not await self._ask():
            await sleep(self._clock, ANSWER_SECONDS)
        while True:
            await sleep(self._clock, INTERVAL)
            if not self._broker.ready:
                continue  # Nobody is heard by us now: that they are silent means nothing.
            if self._strangers:
                self._strangers = False
                await self._ask()
            for id in list(self.instances):
                self._silent[id] += 1
                if self._silent[id] > MISSED:
                    self._forget(id)

    async def _ask(self) -> bool:
        """Ask who is there, and return whether the mesh was told."""
        try:
            await self._broker.publish(to_presence(QUERY), note(QUERY, b"{}", self._clock.now()))
        except InvocationError as error:
            _log.debug("the mesh was not asked who is there: %s", error)
            self._strangers = True
            return False
        self._clock.call_later(ANSWER_SECONDS, self.complete.set)
        return True

    def _forget(self, id: str) -> None:
        if self.instances.pop(id, None) is not None:
            del self._silent[id]
            self._changed(self.instances)
