"""Observes which processes of the mesh run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, sleep
from eventmesh.aio.tasks import task_group
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import InvocationError, PayloadTooLarge
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import PRESENCE, Binding, presence_queue, to_presence
from eventmesh.presence.forgery import find_forgery
from eventmesh.presence.instance import (
    ALIVE,
    GONE,
    HEARTBEATS,
    HERE,
    INTERVAL,
    QUERY,
    Instance,
    check_counts,
    presence_message,
    read_instance,
)

MISSED: Final = 3
"""Intervals without a heartbeat after which a process counts as gone."""

ANSWER_SECONDS: Final = 1.0
"""Seconds that processes have to answer, and after which a question that failed is repeated."""

PREFETCH: Final = 100

MAX_INSTANCES: Final = 5_000
"""Processes of a mesh that are seen at once."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all their announcements together: those of the shop's services have 20 KB each."""

MAX_WARNINGS: Final = 100

_log: Final = logging.getLogger(__name__)

OnChange: TypeAlias = Callable[[Mapping[str, Instance]], object]
"""Gets all instances by id whenever one starts, stops or changes."""


@asynccontextmanager
async def observe(
    broker: Broker,
    clock: Clock,
    on_change: OnChange,
    gateways: Collection[str] | None = None,
) -> AsyncGenerator[Observer]:
    """Observe which processes run while entered; it takes a moment until all have answered.

    `gateways` are the users of gateways where each service has a user of the broker: there, only
    the user of a service may announce it. With None everything is believed.
    """
    observer = Observer(broker, clock, on_change, gateways)
    queue = presence_queue(new_id(), "heard")
    await broker.declare([queue], [Binding(queue, word, PRESENCE) for word in (HERE, ALIVE, GONE)])
    async with (
        broker.consume(queue, observer.on_message, prefetch=PREFETCH),
        task_group() as tasks,
    ):
        watching = tasks.create_task(observer.run())
        try:
            yield observer
        finally:
            watching.cancel()


class Observer:
    """The processes of the mesh: `instances` by id, and by user and id where each has its own.

    `complete` is set once they were asked and have had `ANSWER_SECONDS` to answer. `refused` counts
    the messages that were dropped: not valid, or about processes of others.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        on_change: OnChange,
        gateways: Collection[str] | None = None,
    ) -> None:
        self.instances: dict[str, Instance] = {}
        self.complete = asyncio.Event()
        self.refused = 0
        self._broker = broker
        self._clock = clock
        self._on_change = on_change
        self._gateways = gateways
        self._missed: dict[str, int] = {}
        self._senders: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._unknown_seen = False
        self._warned: set[str] = set()

    def on_message(self, delivery: Delivery) -> None:
        """Take a presence message."""
        delivery.ack()
        message = delivery.message
        try:
            check_nodes(message.body)
            self._apply(message)
        except (
            PayloadTooLarge,
            ValueError,
            RecursionError,
        ) as error:  # ValidationError is a ValueError.
            self._refuse(f"a presence message is not valid: {error}")

    def _apply(self, message: Message) -> None:
        if message.type == HERE:
            self._add(read_instance(message.body, self._clock.now()), message)
            return
        heartbeat = HEARTBEATS.validate_json(message.body)
        check_counts(heartbeat)
        key = self._key(heartbeat.id, message)
        known = self.instances.get(key)
        if known is not None and not self._is_of(key, message):
            return
        if message.type == GONE:
            self._remove(key)
        elif known is None:
            self._unknown_seen = True
        else:
            self._missed[key] = 0
            self.instances[key] = replace(
                known, running=heartbeat.running, waiting=heartbeat.waiting, work=heartbeat.work
            )

    def _key(self, id: str, message: Message) -> str:
        # Who announces the id of another's process does not take its place.
        return id if self._gateways is None else f"{message.sender}/{id}"

    def _is_of(self, key: str, message: Message) -> bool:
        """Whether the broker's user who announced a process sent this, too."""
        if self._senders[key] == message.sender:
            return True
        self._refuse(f"{message.sender!r:.99} speaks for a process of {self._senders[key]!r:.99}")
        return False

    def _is_forged(self, instance: Instance, message: Message) -> bool:
        """Whether another service, or nobody, says that it is this process."""
        if self._gateways is None:
            return False
        forgery = find_forgery(instance, message.sender, self._gateways)
        if forgery:
            who = f"an announcement by the broker's user {message.sender!r:.99}"
            self._refuse(f"{who} was dropped: {forgery}", who)
        return bool(forgery)

    def _refuse(self, problem: str, about: str = "") -> None:
        self.refused += 1
        self._warn(problem, about)

    def _warn(self, problem: str, about: str = "") -> None:
        """Log a problem, unless there was one of the same text, or about the same, before."""
        # Of a sender that repeats it, the first time is enough; of many, MAX_WARNINGS are.
        about = about or problem
        if about not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(about)
            _log.warning("%s", problem)

    def _add(self, instance: Instance, message: Message) -> None:
        if self._is_forged(instance, message):
            return
        key, size = self._key(instance.id, message), len(message.body)
        known = self.instances.get(key)
        if known is not None:
            if not self._is_of(key, message):
                return
            # The first time counts: who says "now" again and again is not the newest.
            instance = replace(instance, started=min(instance.started, known.started))
        others = sum(self._sizes.values()) - self._sizes.get(key, 0)
        if (known is None and len(self.instances) >= MAX_INSTANCES) or others + size > MAX_BYTES:
            self._warn(
                f"only the first {MAX_INSTANCES:,} processes that announce themselves are seen, "
                f"with {MAX_BYTES:,} bytes in all"
            )
            return
        self._missed[key] = 0
        self._senders[key] = message.sender
        self._sizes[key] = size
        self.instances[key] = instance
        if known is None or replace(instance, **_counts_of(known)) != known:
            self._tell()

    def _tell(self) -> None:
        try:
            self._on_change(self.instances)
        except Exception:  # noqa: BLE001
            # What another process announces must not end this one.
            _log.exception("what the processes of the mesh announce could not be taken")

    async def run(self) -> None:
        """Ask which processes run, and drop those that fall silent, until cancelled."""
        while not await self._ask():
            await sleep(self._clock, ANSWER_SECONDS)
        while True:
            await sleep(self._clock, INTERVAL)
            if not self._broker.ready:
                continue  # Nothing reaches us now: silence says nothing about the others.
            if self._unknown_seen:
                self._unknown_seen = False
                await self._ask()
            for key in list(self.instances):
                self._missed[key] += 1
                if self._missed[key] > MISSED:
                    self._remove(key)

    async def _ask(self) -> bool:
        """Ask which processes run, and return whether the question was sent."""
        try:
            await self._broker.publish(
                to_presence(QUERY), presence_message(QUERY, b"{}", self._clock.now())
            )
        except InvocationError as error:
            _log.debug("the mesh was not asked which processes run: %s", error)
            self._unknown_seen = True
            return False
        self._clock.call_later(ANSWER_SECONDS, self.complete.set)
        return True

    def _remove(self, key: str) -> None:
        if self.instances.pop(key, None) is not None:
            del self._missed[key], self._senders[key], self._sizes[key]
            self._tell()


def _counts_of(instance: Instance) -> dict[str, Any]:
    """What changes all the time, and is told to nobody."""
    return {"running": instance.running, "waiting": instance.waiting, "work": instance.work}
