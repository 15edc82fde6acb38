"""Consumers that stay: started again after every loss, one a subscription, no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Delivery
from eventmesh.aio.clock import Clock
from eventmesh.aio.tasks import background_task
from eventmesh.brokers.rabbitmq.amqp.channel import Channel, DeliveryCallback
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.properties import receive
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection, backoff
from eventmesh.model.errors import BrokerUnavailable, EventmeshError
from eventmesh.model.message import Message

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class RabbitDelivery:
    """A message and the channel that wants the answer to it."""

    __slots__ = ("_acks", "_tag", "message", "redeliveries")

    def __init__(self, message: Message, redeliveries: int, tag: int, acks: AckBatcher) -> None:
        self.message = message
        self.redeliveries = redeliveries
        self._tag = tag
        self._acks = acks

    @property
    def stale(self) -> bool:
        return not self._acks.channel.is_open

    def ack(self) -> None:
        self._acks.ack(self._tag)

    def requeue(self) -> None:
        self._acks.requeue(self._tag)


class AckBatcher:
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
        connection: ReconnectingConnection,
        clock: Clock,
        queue: str,
        prefetch: int,
        *,
        deliver: Callable[[Delivery], None],
        declare: Callable[[], Awaitable[None]],
        reply_connection: ReconnectingConnection | None = None,
    ) -> None:
        """`declare` makes the queue and its bindings again, after they may have been lost.

        `reply_connection` carries the replies: nothing is consumed without it.
        """
        self.live = asyncio.Event()
        self._connection = connection
        self._clock = clock
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._declare = declare
        self._reply_connection = reply_connection or connection
        self._active: _ActiveConsumer | None = None
        self._starting = asyncio.Lock()
        self._stopped = False
        self._failure = ""

    @property
    def active(self) -> bool:
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
        while self._active is not None:
            self._report(await self._active.ended())
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
            active = self._active
        if active is not None and active.channel.is_open:
            try:
                await active.channel.cancel(active.tag)
            except BrokerUnavailable:
                return  # Lost at this moment: then nothing is delivered either.

    async def close(self) -> None:
        """Close the channel, behind all answers; what is unanswered goes back to the broker."""
        if self._active is not None:
            self._active.acks.flush()
            await self._active.channel.close()

    async def _start(self, passing: type[EventmeshError]) -> None:
        """Try until it works; `passing` are the errors that may pass by themselves."""
        for wait in backoff():
            try:
                await self._reply_connection.wait_connected()
                connection = await self._connection.wait_connected()
                async with self._starting:
                    if not self._stopped:
                        await self._declare()
                        await self._consume(connection)
                return
            except passing as error:
                if self._stopped or self._connection.closed:
                    raise
                self._report(str(error))
            await asyncio.sleep(wait)

    async def _consume(self, connection: AmqpConnection) -> None:
        channel = await connection.open_channel()
        try:
            active = _ActiveConsumer(channel)
            active.tag = await channel.consume(
                self._queue, self._prefetch, self._content(active.acks)
            )
        except BaseException:
            channel.abandon()
            raise
        self._active = active
        self._failure = ""
        self.live.set()

    def abandon(self) -> None:
        """End the consumer of the moment, if there is one: what it holds goes back."""
        active, self._active = self._active, None
        self.live.clear()
        if active is not None:
            active.acks.flush()
            active.channel.abandon()

    def _content(self, acks: AckBatcher) -> DeliveryCallback:
        deliver, delivered, now = self._deliver, acks.delivered, self._clock.now

        def content(tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None:
            delivered(tag)
            received = receive(properties, body, now(), redelivered=redelivered)
            deliver(RabbitDelivery(received.message, received.redeliveries, tag, acks))

        return content

    def _report(self, failure: str) -> None:
        # Once a reason, not once an attempt.
        if failure != self._failure and not self._stopped:
            _log.warning("the consumer of %s is started again: %s", self._queue, failure)
        self._failure = failure


class _ActiveConsumer:
    """The consumer of the moment."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.acks = AckBatcher(channel)
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
async def run_consumer(consumer: Consumer) -> AsyncGenerator[Consumer]:
    """Keep a consumer running while entered; entering waits until it consumes."""
    await consumer.start()
    try:
        async with background_task(consumer.run()):
            try:
                yield consumer
            finally:
                await consumer.stop()
                await consumer.close()
    finally:
        consumer.abandon()
