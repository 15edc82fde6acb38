"""Announces this process to the mesh."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.aio.tasks import task_group
from eventmesh.engine.codecs.envelope import reply_from
from eventmesh.model.errors import AccessDenied, InvocationError
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.runs import Question
from eventmesh.model.topology import PRESENCE, Binding, presence_queue, to_presence
from eventmesh.presence.drain import DRAIN, drain_key, take_order
from eventmesh.presence.instance import (
    ALIVE,
    GONE,
    HEARTBEATS,
    HERE,
    INSTANCES,
    INTERVAL,
    LOOK,
    QUERY,
    SEEN,
    Heartbeat,
    Instance,
    presence_message,
)
from eventmesh.presence.looks import Look, dump_answer, read_question

GOODBYE_SECONDS: Final = 1.0
"""Seconds that the goodbye may take. Without it the others notice some heartbeats later."""

LEAVE_SECONDS: Final = 1.0
"""Seconds that the consumer of questions may take to stop after that."""

MAX_QUESTIONS: Final = 8
"""Questions that wait for their answers; older ones get none."""

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def announce(
    broker: Broker,
    clock: Clock,
    describe: Callable[[], Instance],
    look: Look | None = None,
    gateways: Collection[str] | None = None,
    *,
    drain: Callable[[], object] | None = None,
) -> AsyncGenerator[None]:
    """Announce this process to the mesh while entered; `describe` gives its current state.

    Entering waits until the broker holds the announcement, or has failed to take it. So whoever
    leaves for this process after that is known to have a successor.

    `look` answers those who ask for its runs: with `gateways`, where each service has a user of the
    broker, those users alone. `drain` is called when one of them tells this process to drain.

    While the broker is away nothing is sent, and the other processes take this one for gone.
    """
    announcer = _Announcer(broker, clock, describe, look, gateways, drain=drain)
    queue = presence_queue(describe().id, "asked")
    words = [QUERY] if look is None else [QUERY, LOOK]
    if drain is not None:
        words.append(drain_key(describe().id))
    await broker.declare([queue], [Binding(queue, word, PRESENCE) for word in words])
    consuming = broker.consume(queue, announcer.on_query, prefetch=1)
    async with _leave_in_time(consuming, clock, announcer), task_group() as tasks:
        try:
            # Before anybody hears that this process is ready: the worker that it replaces says
            # goodbye then, and a gateway that knows neither refuses requests.
            await announcer.say_hello()
            announcing = tasks.create_task(announcer.run())
            try:
                yield
            finally:
                announcing.cancel()
        finally:
            await announcer.say_goodbye()


@asynccontextmanager
async def _leave_in_time(
    consuming: AbstractAsyncContextManager[object], clock: Clock, announcer: _Announcer
) -> AsyncGenerator[None]:
    """Enter `consuming`, and leave it within `LEAVE_SECONDS`: what runs needs the grace time.

    A broker that did not take the goodbye is not waited for at all.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(consuming)
        yield
        try:
            with TimeLimit(clock, 0.0 if announcer.cut_off else LEAVE_SECONDS):
                await stack.aclose()
        except TimeoutError:
            _log.debug("whether others still ask this process was not settled in time")


class _Announcer:
    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        describe: Callable[[], Instance],
        look: Look | None,
        gateways: Collection[str] | None,
        *,
        drain: Callable[[], object] | None,
    ) -> None:
        self._look = look
        self._drain = drain
        self._gateways = gateways
        self._questions: deque[Question] = deque(maxlen=MAX_QUESTIONS)
        self._unknown = False
        self._broker = broker
        self._clock = clock
        self._describe = describe
        self._queried = asyncio.Event()
        self.cut_off = False
        """Whether the broker did not take the goodbye in time."""

    def on_query(self, delivery: Delivery) -> None:
        """Take the question which processes run, or what they do."""
        delivery.ack()
        if delivery.message.type == DRAIN:
            self._on_drain(delivery.message)
            return
        if delivery.message.type != LOOK:
            self._unknown = True
        elif question := read_question(delivery.message, self._gateways):
            self._questions.append(question)
        self._queried.set()

    def _on_drain(self, message: Message) -> None:
        """Answer an order to drain, and follow it. A second one is answered like the first."""
        try:
            result = Result(take_order(message, self._gateways, self._describe))
        except AccessDenied as error:
            result = Result(b"", error=error)
        try:
            self._broker.reply(message, reply_from(result, message, self._clock.now()))
        except InvocationError as error:
            _log.info("the answer to an order to drain is lost: %s", error)
        if result.error is None and self._drain is not None:
            _log.warning("an operator told this process to drain")
            self._drain()

    async def say_hello(self) -> None:
        """Announce that this process runs."""
        await self._send(HERE)

    async def run(self) -> None:
        """Send heartbeats and answer those who ask, until cancelled."""
        due = self._clock.monotonic() + INTERVAL
        while True:
            left = due - self._clock.monotonic()
            if left <= 0:
                await self._send(ALIVE)
                due = self._clock.monotonic() + INTERVAL
                continue
            # However often others ask, they learn of its work by heartbeats.
            try:
                with TimeLimit(self._clock, left):
                    await self._queried.wait()
            except TimeoutError:
                continue
            self._queried.clear()
            await self._answer()

    async def _answer(self) -> None:
        if self._unknown:
            self._unknown = False
            await self._send(HERE)
        while self._look is not None and self._questions:
            question = self._questions.popleft()
            sight = self._look(question)
            body = dump_answer(sight, private=self._gateways is not None)
            await self._publish(f"{SEEN}.{question.asker}", SEEN, body)

    async def say_goodbye(self) -> None:
        """Announce that this process stops, within `GOODBYE_SECONDS`."""
        try:
            with TimeLimit(self._clock, GOODBYE_SECONDS):
                await self._send(GONE)
        except TimeoutError:
            self.cut_off = True
            _log.debug("the goodbye of this process was not sent in time")

    async def _send(self, kind: str) -> None:
        instance = self._describe()
        if kind == HERE:
            body = INSTANCES.dump_json(instance)
        else:
            beat = Heartbeat(instance.id, instance.running, instance.waiting, instance.work)
            body = HEARTBEATS.dump_json(beat)
        await self._publish(kind, kind, body)

    async def _publish(self, key: str, kind: str, body: bytes) -> None:
        try:
            await self._broker.publish(
                to_presence(key), presence_message(kind, body, self._clock.now())
            )
        except InvocationError as error:
            _log.debug("the presence message %r was not sent: %s", kind, error)
