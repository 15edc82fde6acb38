"""Consumers that start again after every loss, exactly one for each subscription."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Delivery
from eventmesh.aio.clock import Clock
from eventmesh.aio.tasks import background_task
from eventmesh.brokers.rabbitmq.access.admission import Admit
from eventmesh.brokers.rabbitmq.amqp.channel import Channel, DeliveryCallback
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.properties import receive
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.brokers.rabbitmq.timing import LONGEST_START_WAIT, backoff
from eventmesh.model.errors import BrokerUnavailable, EventmeshError
from eventmesh.model.message import Message

_log: Final = logging.getLogger("eventmesh.rabbitmq")


PATIENCE: Final = 11
"""Failed starts in a row after which a consumer warns that RabbitMQ is unavailable: 6 s or more."""


class RabbitDelivery:
    """A delivered message, with the channel on which it is acked or requeued."""

    __slots__ = ("_acks", "losses", "message", "number", "redeliveries")

    def __init__(
        self, message: Message, counts: tuple[int, int], number: int, acks: AckBatcher
    ) -> None:
        """`counts` are its redeliveries and losses, and `number` its delivery tag."""
        self.message = message
        self.number = number
        self.redeliveries, self.losses = counts
        self._acks = acks

    @property
    def held(self) -> bool:
        return self._acks.holds(self.number)

    @property
    def stale(self) -> bool:
        return not self._acks.channel.is_open

    def ack(self) -> None:
        self._acks.ack(self.number)

    def requeue(self) -> None:
        self._acks.requeue(self.number)


class AckBatcher:
    """Acks the deliveries of one channel, in one write for each pass of the event loop.

    Delivery tags count up within their channel and end with it (AMQP 0-9-1, section 1.8.3).
    Finished deliveries without a gap are acked at once, with `multiple`; those after a gap are
    acked one by one, so that a slow delivery delays only itself.
    """

    __slots__ = ("_acked", "_flushing", "_unacked", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._unacked: dict[int, None] = {}
        self._acked: set[int] = set()
        self._flushing = False

    def add(self, tag: int) -> None:
        """Add a delivery that waits for its ack or requeue."""
        self._unacked[tag] = None

    def holds(self, tag: int) -> bool:
        """Whether a delivery waits for its ack or requeue, and can get it."""
        return self.channel.is_open and tag in self._unacked and tag not in self._acked

    def ack(self, tag: int) -> None:
        if tag not in self._unacked or tag in self._acked:
            return
        self._acked.add(tag)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def requeue(self, tag: int) -> None:
        if tag in self._unacked and tag not in self._acked:
            del self._unacked[tag]
            self.channel.requeue(tag)

    def flush(self) -> None:
        """Write the collected acks."""
        self._flushing = False
        acked, self._acked = self._acked, set()
        prefix: list[int] = []
        for tag in self._unacked:
            if tag not in acked:
                break
            prefix.append(tag)
        for tag in prefix:
            del self._unacked[tag]
        acked.difference_update(prefix)
        if prefix:
            self.channel.ack(prefix[-1], multiple=len(prefix) > 1)
        for tag in sorted(acked):
            del self._unacked[tag]
            self.channel.ack(tag)


class Consumer:
    """One subscription to one queue, and its active AMQP consumer.

    `live` is set while there is one. Each AMQP consumer has a channel of its own, which is closed
    before the next one starts: so there is never more than one.
    """

    def __init__(
        self,
        connection: ReconnectingConnection,
        clock: Clock,
        queue: str,
        prefetch: int,
        *,
        deliver: Callable[[Delivery], None],
        declare: Callable[[], Awaitable[str]],
        reply_connection: ReconnectingConnection | None = None,
        admit: Admit | None = None,
        may_be_away: bool = False,
    ) -> None:
        """`declare` creates the queue and its bindings again, after they may have been lost.

        It returns the queue's name, which is another one if the node of the first is away. With
        `may_be_away` this process is of use without the queue: `start` does not wait for its node.

        `reply_connection` carries the replies to the deliveries: without it nothing is consumed.
        `admit` is asked about each message; one that it drops is acknowledged.
        """
        self.live = asyncio.Event()
        self._connection = connection
        self._clock = clock
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._declare = declare
        self._reply_connection = reply_connection or connection
        self._admit = admit
        self._active: _ActiveConsumer | None = None
        self._starting = asyncio.Lock()
        self._stopped = False
        self._may_be_away = may_be_away
        self._away = False
        self._warned = ""

    @property
    def ready(self) -> bool:
        """Whether it consumes or was stopped, so that `Broker.ready` need not wait for it.

        Nor need it wait for a queue that may be away, and is.
        """
        return self._stopped or self.live.is_set() or self._away

    async def start(self) -> None:
        """Start to consume, as soon as RabbitMQ is reachable.

        Raises the errors of `declare` about the queue itself, and BrokerUnavailable once the
        connection is closed for good.
        """
        await self._start(BrokerUnavailable, wait_for_node=not self._may_be_away)

    async def run(self) -> None:
        """Start again whenever the consumer ends, until it is stopped or the connection closes."""
        while (active := self._active) is not None or self._away:
            reason = "its node was away" if active is None else await active.wait_ended()
            self.abandon()
            # Always the first wait of a backoff: the later ones are for starts that fail.
            await asyncio.sleep(next(backoff()))
            try:
                # Any error: a consumer that has worked before is retried without a limit.
                await self._start(EventmeshError)
            except EventmeshError:
                return  # It was stopped, or the connection is closed for good.
            if not self._stopped:  # Else it was not started, or is being stopped.
                self._log_restart(active, reason)

    async def stop(self) -> None:
        """Stop the intake; see `Subscription.stop`. The channel stays open for later acks."""
        self._stopped = True
        async with self._starting:
            active = self._active
        if active is not None and active.channel.is_open:
            try:
                await active.channel.cancel(active.tag)
            except BrokerUnavailable:
                return  # It was lost just now, so nothing is delivered any more.

    async def close(self) -> None:
        """Close the channel after the last ack; RabbitMQ requeues unacked messages."""
        if self._active is not None:
            self._active.acks.flush()
            await self._active.channel.close()

    async def _start(self, temporary: type[EventmeshError], *, wait_for_node: bool = True) -> None:
        """Try until it consumes or was stopped; retry after `temporary` errors.

        Without `wait_for_node` it ends, too, when the queue's node is away.
        """
        for number, wait in enumerate(backoff(LONGEST_START_WAIT), start=1):
            try:
                await self._reply_connection.wait_connected()
                connection = await self._connection.wait_connected()
                async with self._starting:
                    if not self._stopped:
                        self._queue = await self._declare()
                        await self._consume(connection)
                return
            except temporary as error:
                if self._stopped or self._connection.closed_for_good:
                    raise
                self._away = self._may_be_away and isinstance(error, QueueAway)
                self._log_failed_start(error, number)
                if self._away and not wait_for_node:
                    return
            await asyncio.sleep(wait)

    async def _consume(self, connection: AmqpConnection) -> None:
        channel = await connection.open_channel()
        try:
            active = _ActiveConsumer(connection, channel)
            active.tag = await channel.consume(
                self._queue, self._prefetch, self._delivery_callback(active.acks)
            )
        except BaseException:
            channel.abandon()
            raise
        self._active = active
        self._warned = ""
        self._away = False
        self.live.set()

    def abandon(self) -> None:
        """End the active consumer, if there is one; RabbitMQ requeues its unacked messages."""
        active, self._active = self._active, None
        self.live.clear()
        if active is not None:
            active.acks.flush()
            active.channel.abandon()

    def _delivery_callback(self, acks: AckBatcher) -> DeliveryCallback:
        deliver, add, clock = self._deliver, acks.add, self._clock

        admit = self._admit
        if admit is not None:
            return self._admitting_callback(acks, admit)

        def on_delivery(tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None:
            add(tag)
            received = receive(properties, body, clock, redelivered=redelivered)
            deliver(RabbitDelivery(received.message, received.counts, tag, acks))

        return on_delivery

    def _admitting_callback(self, acks: AckBatcher, admit: Admit) -> DeliveryCallback:
        deliver, clock, channel = self._deliver, self._clock, acks.channel

        def on_admitted_delivery(
            tag: int, properties: bytes, body: bytes, *, redelivered: bool
        ) -> None:
            acks.add(tag)
            received = receive(properties, body, clock, redelivered=redelivered)
            message = admit(received.message, channel.exchange)
            if message is None:
                acks.ack(tag)
            else:
                deliver(RabbitDelivery(message, received.counts, tag, acks))

        return on_admitted_delivery

    def _log_restart(self, ended: _ActiveConsumer | None, reason: str) -> None:
        # A lost connection ends all its consumers, and ConnectionLog reports it once. RabbitMQ may
        # cancel the consumers before it closes the connection, so its state now decides.
        lost = ended is not None and ended.connection.closed.done()
        level = logging.DEBUG if lost else logging.WARNING
        _log.log(level, "the consumer of %s was started again: %s", self._queue, reason)

    def _log_failed_start(self, error: EventmeshError, number: int) -> None:
        """Warn once for each reason, not for each attempt, and not while RabbitMQ restarts."""
        expected = (
            isinstance(error, BrokerUnavailable)
            and not isinstance(error, QueueAway)
            and number < PATIENCE
        )
        level = logging.DEBUG if expected or str(error) == self._warned else logging.WARNING
        if level == logging.WARNING:
            self._warned = str(error)
        _log.log(level, "the consumer of %s cannot start and tries again: %s", self._queue, error)


class _ActiveConsumer:
    """An AMQP consumer on its channel."""

    def __init__(self, connection: AmqpConnection, channel: Channel) -> None:
        self.connection = connection
        self.channel = channel
        self.acks = AckBatcher(channel)
        self.tag = ""
        self._cancelled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        channel.on_cancel = self._on_cancel

    async def wait_ended(self) -> str:
        """Wait until it has ended, and return why."""
        futures = (self.channel.closed, self._cancelled)
        done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    def _on_cancel(self, _tag: str) -> None:
        if not self._cancelled.done():
            self._cancelled.set_result("RabbitMQ cancelled it: its queue was deleted or has moved")


@asynccontextmanager
async def keep_consuming(consumer: Consumer) -> AsyncGenerator[Consumer]:
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
