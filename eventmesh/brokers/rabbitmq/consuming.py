"""Consumers that stay: started again after every loss, one a subscription, no more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from eventmesh.abc import Delivery
from eventmesh.brokers.rabbitmq.link import Link, backoff
from eventmesh.brokers.rabbitmq.wire.channel import Channel, Content
from eventmesh.brokers.rabbitmq.wire.properties import decode_properties
from eventmesh.errors import BrokerUnavailable, InvocationError
from eventmesh.message import Message

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class RabbitDelivery:
    """A message and the channel that wants the answer to it."""

    __slots__ = ("_answers", "_tag", "message", "redeliveries")

    def __init__(self, message: Message, redeliveries: int, tag: int, answers: Answers) -> None:
        self.message = message
        self.redeliveries = redeliveries
        self._tag = tag
        self._answers = answers

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

    __slots__ = ("_acked", "_channel", "_flushing", "_open")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
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
            self._channel.requeue(tag)

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
            self._channel.ack(prefix[-1], multiple=len(prefix) > 1)
        for tag in sorted(acked):
            del self._open[tag]
            self._channel.ack(tag)


class Consumer:
    """One subscription to one queue, and the consumer that serves it now."""

    def __init__(
        self,
        link: Link,
        queue: str,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        declare: Callable[[], Awaitable[None]],
    ) -> None:
        """`declare` makes the queue and its bindings again, after they may have been lost."""
        self.live = asyncio.Event()
        self._link = link
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._declare = declare
        self._channel: Channel | None = None
        self._tag = ""
        self._served = False
        self._stopped = False

    async def run(self) -> None:
        """Consume until stopped, on one channel after another."""
        waits = backoff()
        while not self._stopped:
            try:
                await self._consume()
            except InvocationError as error:
                if not (self._served or isinstance(error, BrokerUnavailable)):
                    raise  # It never worked, and trying again would not mend it.
                _log.warning("the consumer of %s is started again: %s", self._queue, error)
            if self.live.is_set():
                waits = backoff()
                self.live.clear()
            if not self._stopped:
                await asyncio.sleep(next(waits))

    async def _consume(self) -> None:
        connection = await self._link.wait_connected()
        await self._declare()
        channel = await connection.open_channel()
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel.on_cancel = partial(_settle, cancelled)
        answers = Answers(channel)
        self._channel = channel
        try:
            self._tag = await channel.consume(self._queue, self._prefetch, self._content(answers))
            self.live.set()
            self._served = True
            await asyncio.wait((cancelled, channel.closed), return_when=asyncio.FIRST_COMPLETED)
            if not channel.closed.done():
                raise BrokerUnavailable("RabbitMQ cancelled it: its queue was deleted or moved")
            channel.closed.result()
        finally:
            self._channel = None
            answers.flush()
            await channel.close()

    def _content(self, answers: Answers) -> Content:
        deliver, delivered = self._deliver, answers.delivered

        def content(tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None:
            delivered(tag)
            received = decode_properties(properties, body, time.time(), redelivered=redelivered)
            deliver(RabbitDelivery(received.message, received.redeliveries, tag, answers))

        return content

    async def stop(self) -> None:
        """As `Subscription.stop` says. The channel stays, for the answers that are to come."""
        self._stopped = True
        channel = self._channel
        if channel is not None and not channel.closed.done():
            try:
                await channel.cancel(self._tag)
            except BrokerUnavailable:
                return  # Lost at this moment: then nothing is delivered either.

    async def close(self) -> None:
        """Give up the channel; what is unanswered goes back to the broker."""
        channel = self._channel
        if channel is not None:
            await channel.close()


@asynccontextmanager
async def consuming(consumer: Consumer) -> AsyncGenerator[Consumer]:
    """Run a consumer while entered; entered once it is served for the first time."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(consumer.run())
        await consumer.live.wait()
        try:
            yield consumer
        finally:
            await consumer.stop()
            running.cancel()


def _settle(future: asyncio.Future[None], _tag: str) -> None:
    if not future.done():
        future.set_result(None)
