"""Consumers that stay: started again after every loss, one a subscription, no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Delivery
from eventmesh.aio.clock import Clock
from eventmesh.brokers.rabbitmq.amqp.channel import Channel, Content
from eventmesh.brokers.rabbitmq.amqp.connection import Connection
from eventmesh.brokers.rabbitmq.amqp.properties import receive
from eventmesh.brokers.rabbitmq.datapath.connection import Link, backoff
from eventmesh.model.errors import BrokerUnavailable, EventmeshError
from eventmesh.model.message import Message

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class RabbitDelivery:
    """A message and the channel that wants the answer to it."""

    __slots__ = ("_answers", "_tag", "message", "redeliveries")

    def __init__(self, message: Message, redeliveries: int, tag: int, answers: Answers) -> None:
        self.message = message
        self.redeliveries = redeliveries
        self._tag = tag
        self._answers = answers

    @property
    def stale(self) -> bool:
        return not self._answers.channel.is_open

    def ack(self) -> None:
        self._answers.ack(self._tag)

    def requeue(self) -> None:
        self._answers.requeue(self._tag)


class Answers:
    """The answers to the deliveries of one channel, which go out once a pass of the event loop.

    Delivery tags count up within their channel and die with it (AMQP 0-9-1, section 1.8.3). What
    is finished without a gap is acknowledged at once, with `multiple`; what is finished beyond a
    gap one by one, so that a slow delivery holds up nothing but itself.
    """

    __slots__ = ("_acked", "_flushing", "_open", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._open: dict[int, None] = {}
        self._acked: set[int] = set()
        self._flushing = False

    def delivered(self, tag: int) -> None:
        self._open[tag] = None

    def ack(self, tag: int) -> None:
        if tag not in self._open or tag in self._acked:
            return
        self._acked.add(tag)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def requeue(self, tag: int) -> None:
        if tag in self._open and tag not in self._acked:
            del self._open[tag]
            self.channel.requeue(tag)

    def flush(self) -> None:
        """Write the acknowledgements that have gathered."""
        self._flushing = False
        acked, self._acked = self._acked, set()
        prefix: list[int] = []
        for tag in self._open:
            if tag not in acked:
                break
            prefix.append(tag)
        for tag in prefix:
            del self._open[tag]
        acked.difference_update(prefix)
        if prefix:
            self.channel.ack(prefix[-1], multiple=len(prefix) > 1)
        for tag in sorted(acked):
            del self._open[tag]
            self.channel.ack(tag)


class Consumer:
    """One subscription to one queue, and the consumer that serves it now.

    `live` is set while there is one. Each is on a channel of its own, and its channel is closed
    before there is another, so that there is never more than one.
    """

    def __init__(
        self,
        link: Link,
        clock: Clock,
        queue: str,
        prefetch: int,
        *,
        deliver: Callable[[Delivery], None],
        declare: Callable[[], Awaitable[None]],
        replies: Link | None = None,
    ) -> None:
        """`declare` makes the queue and its bindings again, after they may have been lost.

        `replies` is the link by which deliveries are replied to: without it nothing is begun.
        """
        self.live = asyncio.Event()
        self._link = link
        self._clock = clock
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._declare = declare
        self._replies = replies or link
        self._serving: _Serving | None = None
        self._starting = asyncio.Lock()
        self._stopped = False
        self._trouble = ""

    @property
    def served(self) -> bool:
        """Whether it gets what it wants: one that was stopped wants nothing."""
        return self._stopped or self.live.is_set()

    async def start(self) -> None:
        """Begin to consume, as soon as RabbitMQ is there.

        Raises what `declare` says about the queue itself, and BrokerUnavailable once the link is
        closed.
        """
        await self._start(BrokerUnavailable)

    async def run(self) -> None:
        """Keep consuming: begin again whenever it ends, until stopped or the link is closed."""
        while self._serving is not None:
            self._say(await self._serving.ended())
            self.abandon()
            await asyncio.sleep(next(backoff()))
            try:
                # Any error: what has worked before is not given up.
                await self._start(EventmeshError)
            except EventmeshError:
                return  # It is not wanted any more, or the link is closed.

    async def stop(self) -> None:
        """As `Subscription.stop` says. The channel stays, for the answers that are to come."""
        self._stopped = True
        async with self._starting:
            serving = self._serving
        if serving is not None and serving.channel.is_open:
            try:
                await serving.channel.cancel(serving.tag)
            except BrokerUnavailable:
                return  # Lost at this moment: then nothing is delivered either.

    async def close(self) -> None:
        """Close the channel, behind all answers; what is unanswered goes back to the broker."""
        if self._serving is not None:
            self._serving.answers.flush()
            await self._serving.channel.close()

    async def _start(self, passing: type[EventmeshError]) -> None:
        """Try until it works; `passing` are the errors that may pass by themselves."""
        for wait in backoff():
            try:
                await self._replies.wait_connected()
                connection = await self._link.wait_connected()
                async with self._starting:
                    if not self._stopped:
                        await self._declare()
                        await self._consume(connection)
                return
            except passing as error:
                if self._stopped or self._link.closed:
                    raise
                self._say(str(error))
            await asyncio.sleep(wait)

    async def _consume(self, connection: Connection) -> None:
        channel = await connection.open_channel()
        try:
            serving = _Serving(channel)
            serving.tag = await channel.consume(
                self._queue, self._prefetch, self._content(serving.answers)
            )
        except BaseException:
            channel.abandon()
            raise
        self._serving = serving
        self._trouble = ""
        self.live.set()

    def abandon(self) -> None:
        """End the consumer of the moment, if there is one: what it holds goes back."""
        serving, self._serving = self._serving, None
        self.live.clear()
        if serving is not None:
            serving.answers.flush()
            serving.channel.abandon()

    def _content(self, answers: Answers) -> Content:
        deliver, delivered, now = self._deliver, answers.delivered, self._clock.now

        def content(tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None:
            delivered(tag)
            received = receive(properties, body, now(), redelivered=redelivered)
            deliver(RabbitDelivery(received.message, received.redeliveries, tag, answers))

        return content

    def _say(self, trouble: str) -> None:
        # Once a reason, not once an attempt.
        if trouble != self._trouble and not self._stopped:
            _log.warning("the consumer of %s is started again: %s", self._queue, trouble)
        self._trouble = trouble


class _Serving:
    """The consumer of the moment."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.answers = Answers(channel)
        self.tag = ""
        self._cancelled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        channel.on_cancel = self._on_cancel

    async def ended(self) -> str:
        """Wait until it is not served any more, and return why."""
        futures = (self.channel.closed, self._cancelled)
        done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    def _on_cancel(self, _tag: str) -> None:
        if not self._cancelled.done():
            self._cancelled.set_result("RabbitMQ cancelled it: its queue was deleted or has moved")


@asynccontextmanager
async def consuming(consumer: Consumer, tasks: asyncio.TaskGroup) -> AsyncGenerator[Consumer]:
    """Run a consumer in `tasks` while entered; entered once it is served for the first time."""
    await consumer.start()
    running = tasks.create_task(consumer.run())
    try:
        yield consumer
    finally:
        try:
            await consumer.stop()
            await consumer.close()
        finally:
            running.cancel()
            consumer.abandon()
