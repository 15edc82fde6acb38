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
from eventmesh.brokers.rabbitmq.amqp.channel import DeliveryCallback
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.properties import receive
from eventmesh.brokers.rabbitmq.datapath.acks import AckBatcher, RabbitDelivery
from eventmesh.brokers.rabbitmq.datapath.active_consumer import ActiveConsumer
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.brokers.rabbitmq.timing import LONGEST_START_WAIT, backoff
from eventmesh.model.errors import BrokerUnavailable, EventmeshError

_log: Final = logging.getLogger("eventmesh.rabbitmq")


PATIENCE: Final = 11
"""Failed starts in a row after which a consumer warns that RabbitMQ is unavailable: 6 s or more."""


class Consumer:
    """One subscription to one queue, and its active AMQP consumer.

    `live` is set while there is one. Each has a channel of its own, which is closed before the
    next one starts: so there is never more than one.
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
        self._active: ActiveConsumer | None = None
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
            reason = "its node was away" if active is None else await self._tend(active)
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
                await active.stop()
            except BrokerUnavailable:
                return  # It was lost just now, so nothing is delivered any more.

    async def resize(self, prefetch: int) -> None:
        """Change the prefetch; see `Subscription.resize`. It outlasts losses."""
        self._prefetch = prefetch
        async with self._starting:
            if self._active is not None:
                self._active.prefetch = prefetch
                await self._adjust(self._active)

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
            active = ActiveConsumer(
                connection, channel, self._queue, self._prefetch, self._delivery_callback
            )
            await active.adjust()
        except BaseException:
            channel.abandon()
            raise
        self._active = active
        self._warned = ""
        self._away = False
        self.live.set()

    async def _tend(self, active: ActiveConsumer) -> str:
        """Adjust its prefetch as deliveries are settled, until it has ended; returns why."""
        while (reason := await active.wait()) is None:
            async with self._starting:
                await self._adjust(active)
        return reason

    async def _adjust(self, active: ActiveConsumer) -> None:
        if self._stopped or not active.channel.is_open:
            return
        try:
            await active.adjust()
        except BrokerUnavailable as error:
            # Its channel has ended, so `run` starts it again, with this prefetch.
            _log.debug("the prefetch of the consumer of %s stays: %s", self._queue, error)

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

    def _log_restart(self, ended: ActiveConsumer | None, reason: str) -> None:
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
