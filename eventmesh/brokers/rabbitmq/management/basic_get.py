"""Gets single messages out of queues, which are acked or requeued later: mostly dead letters."""

from __future__ import annotations

import asyncio
import logging
import struct
from dataclasses import replace
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq.amqp.headers import TIME
from eventmesh.brokers.rabbitmq.amqp.properties import receive
from eventmesh.brokers.rabbitmq.error_translation import check_away, translate_errors
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection
from eventmesh.model.errors import BrokerUnavailable, Throttled
from eventmesh.model.message import Message

MAX_TAKEN: Final = 10_000
"""Messages that may be unacked at once."""

_ROUGHLY: Final = 256.0
"""Seconds by which a time of this century in 32 bits may be wrong, and more."""

_CLOCK: Final = SystemClock()

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class GetDelivery:
    """A message that was taken out of a queue, to be acked or requeued once."""

    __slots__ = ("_channel", "exchange", "losses", "message", "number", "redeliveries")

    def __init__(
        self,
        message: Message,
        counts: tuple[int, int],
        channel: GetChannel,
        number: int,
        exchange: str = "",
    ) -> None:
        """`counts` are its redeliveries and losses, and `number` its delivery tag.

        `exchange` is where it was published or dead-lettered last.
        """
        self.message = message
        self.exchange = exchange
        self.redeliveries, self.losses = counts
        self.number = number
        self._channel: GetChannel | None = channel

    @property
    def held(self) -> bool:
        return not self.stale

    @property
    def stale(self) -> bool:
        return self._channel is None or self._channel.amqp.is_closed

    def ack(self) -> None:
        self._settle(ack=True)

    def requeue(self) -> None:
        self._settle(ack=False)

    def _settle(self, *, ack: bool) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.settle(self.number, ack=ack)


class GetChannel:
    """The channel on which the messages of one queue are taken, acked and requeued.

    There is one for each queue. The broker closes a channel that asks for a queue which does not
    exist, and requeues what was taken on it. `taken` counts the messages that were asked for and
    are unacked; a channel is not closed before there are none.
    """

    __slots__ = ("_dispositions", "amqp", "taken")

    def __init__(
        self, amqp: AbstractChannel, dispositions: asyncio.Queue[Disposition | None]
    ) -> None:
        self.amqp = amqp
        self.taken = 0
        self._dispositions = dispositions

    def settle(self, tag: int, *, ack: bool) -> None:
        self._dispositions.put_nowait((self, tag, ack))


Disposition = tuple[GetChannel, int, bool]


class Getter:
    """Takes messages. `run` sends their acks and requeues, so that callers need not wait."""

    def __init__(self, connection: ManagementConnection) -> None:
        self._connection = connection
        self._channels: dict[str, GetChannel] = {}
        self._choosing = asyncio.Lock()
        # No longer than what is taken: MAX_TAKEN.
        self._dispositions: asyncio.Queue[Disposition | None] = asyncio.Queue()

    async def get(self, queue: str) -> GetDelivery | None:
        """Return one message, or None, after all earlier acks and requeues were sent.

        A quorum queue may still need some milliseconds to requeue them.

        Raises Throttled beyond MAX_TAKEN unacked messages.
        """
        self._connection.check_open()
        async with translate_errors("acking messages"):
            await self._dispositions.join()
        channel = await self._reserve(queue)
        try:
            async with translate_errors(f"taking a message from {queue!r}"):
                taken = await _take(channel.amqp, queue)
        except BaseException:
            channel.taken -= 1
            # aiormq closes a channel some time after a call on it was cancelled.
            if self._channels.get(queue) is channel:
                del self._channels[queue]
            raise
        if taken is None or taken.delivery_tag is None:
            channel.taken -= 1
            return None
        return _read(taken, channel, taken.delivery_tag)

    async def _reserve(self, queue: str) -> GetChannel:
        """Return the channel of the queue, with one more message taken: so it is not closed."""
        async with self._choosing:
            if sum(channel.taken for channel in self._channels.values()) >= MAX_TAKEN:
                raise Throttled(
                    f"{MAX_TAKEN:,} messages are taken and unacked: ack or requeue some first"
                )
            channel = self._channels.get(queue)
            if channel is None or channel.amqp.is_closed:
                await self._close_idle()
                channel = GetChannel(await self._connection.open_channel(), self._dispositions)
                self._channels[queue] = channel
            channel.taken += 1
            return channel

    async def _close_idle(self) -> None:
        # Only now: the next message is mostly taken from the same queue.
        for queue, channel in list(self._channels.items()):
            if not channel.taken or channel.amqp.is_closed:
                del self._channels[queue]
                await self._connection.close_channel(channel.amqp)

    async def run(self) -> None:
        """Send acks and requeues until `finish`, including those that are queued by then."""
        while (disposition := await self._dispositions.get()) is not None:
            channel, tag, ack = disposition
            channel.taken -= 1
            if not channel.amqp.is_closed:
                await self._send(channel.amqp, tag, ack=ack)
            self._dispositions.task_done()
        self._dispositions.task_done()  # For the end itself: `join` may return.

    async def _send(self, channel: AbstractChannel, tag: int, *, ack: bool) -> None:
        try:
            async with translate_errors("acking a message"):
                if ack:
                    await channel.basic_ack(tag)
                else:
                    await channel.basic_nack(tag, requeue=True)
        except BrokerUnavailable as error:
            _log.debug("a message goes back to its queue: %s", error)
            await self._connection.close_channel(channel)

    def finish(self) -> None:
        """Make `run` end."""
        self._dispositions.put_nowait(None)


async def _take(channel: AbstractChannel, queue: str) -> DeliveredMessage | None:
    try:
        return await channel.basic_get(queue)
    except ChannelNotFoundEntity as error:
        check_away(error)
        return None


def _encode(properties: Basic.Properties) -> bytes:
    """Return the properties as bytes; none of them where pamqp cannot write what it has read."""
    try:
        return properties.marshal()
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        _log.warning("a message came with properties that cannot be read: %s", error)
        return Basic.Properties(message_id=properties.message_id).marshal()


def _read(taken: DeliveredMessage, channel: GetChannel, tag: int) -> GetDelivery:
    properties = taken.header.properties
    # pamqp writes floating-point numbers in 32 bits, in which a time is wrong by up to a minute.
    written_at = (properties.headers or {}).get(TIME)
    received = receive(_encode(properties), taken.body, _CLOCK, redelivered=bool(taken.redelivered))
    message = received.message
    if isinstance(written_at, float) and abs(written_at - message.timestamp) < _ROUGHLY:
        message = replace(message, timestamp=written_at)
    return GetDelivery(message, received.counts, channel, tag, taken.exchange or "")
