"""Taking single messages out of queues, to be answered later: dead letters above all."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from eventmesh.brokers.rabbitmq.amqp.properties import TIME, receive
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection
from eventmesh.model.errors import BrokerUnavailable, Throttled
from eventmesh.model.message import Message

MAX_TAKEN: Final = 10_000
"""Messages that may be taken and not answered."""

_ROUGHLY: Final = 256.0
"""Seconds by which a time of this century in 32 bits may be wrong, and more."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class GetDelivery:
    """A message that was taken out of a queue and wants one answer."""

    __slots__ = ("_desk", "_tag", "message", "redeliveries")

    def __init__(self, message: Message, redeliveries: int, desk: GetChannel, tag: int) -> None:
        self.message = message
        self.redeliveries = redeliveries
        self._desk: GetChannel | None = desk
        self._tag = tag

    @property
    def stale(self) -> bool:
        return self._desk is None or self._desk.channel.is_closed

    def ack(self) -> None:
        self._answer(ack=True)

    def requeue(self) -> None:
        self._answer(ack=False)

    def _answer(self, *, ack: bool) -> None:
        desk, self._desk = self._desk, None
        if desk is not None:
            desk.answer(self._tag, ack=ack)


class GetChannel:
    """The channel on which the messages of one queue are taken and answered.

    One a queue: the broker closes a channel on which a queue is asked for that is not there, and
    takes back what was taken on it. `taken` counts what was asked for and not answered: one with
    something of that is not closed.
    """

    __slots__ = ("_answers", "channel", "taken")

    def __init__(self, channel: AbstractChannel, answers: asyncio.Queue[Answer | None]) -> None:
        self.channel = channel
        self.taken = 0
        self._answers = answers

    def answer(self, tag: int, *, ack: bool) -> None:
        self._answers.put_nowait((self, tag, ack))


Answer = tuple[GetChannel, int, bool]


class Getter:
    """Takes messages. `run` sends the answers, which are given without waiting for that."""

    def __init__(self, connection: ManagementConnection) -> None:
        self._connection = connection
        self._desks: dict[str, GetChannel] = {}
        self._choosing = asyncio.Lock()
        # No longer than what is taken: MAX_TAKEN.
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()

    async def get(self, queue: str) -> GetDelivery | None:
        """One message, if there is one, once RabbitMQ was told what was requeued before.

        A quorum queue may have that some milliseconds later all the same.

        Raises Throttled beyond MAX_TAKEN unanswered ones.
        """
        self._connection.check_open()
        async with translate_errors("answering messages"):
            await self._answers.join()
        desk = await self._desk(queue)
        try:
            async with translate_errors(f"taking a message from {queue!r}"):
                taken = await _take(desk.channel, queue)
        except BaseException:
            desk.taken -= 1
            # aiormq closes a channel on which a call was given up, some time later.
            if self._desks.get(queue) is desk:
                del self._desks[queue]
            raise
        if taken is None or taken.delivery_tag is None:
            desk.taken -= 1
            return None
        return _read(taken, desk, taken.delivery_tag)

    async def _desk(self, queue: str) -> GetChannel:
        """The desk of the queue, with one more message taken: so nobody closes it."""
        async with self._choosing:
            if sum(desk.taken for desk in self._desks.values()) >= MAX_TAKEN:
                raise Throttled(
                    f"{MAX_TAKEN:,} messages are taken and not answered: answer some first"
                )
            desk = self._desks.get(queue)
            if desk is None or desk.channel.is_closed:
                await self._close_idle()
                desk = GetChannel(await self._connection.open_channel(), self._answers)
                self._desks[queue] = desk
            desk.taken += 1
            return desk

    async def _close_idle(self) -> None:
        # Only now: whoever looks at one message of a queue mostly looks at the next one as well.
        for queue, desk in list(self._desks.items()):
            if not desk.taken or desk.channel.is_closed:
                del self._desks[queue]
                await self._connection.close_channel(desk.channel)

    async def run(self) -> None:
        """Send the answers until `finish`, and those that were given by then."""
        while (answer := await self._answers.get()) is not None:
            desk, tag, ack = answer
            desk.taken -= 1
            if not desk.channel.is_closed:
                await self._send(desk.channel, tag, ack=ack)
            self._answers.task_done()
        self._answers.task_done()  # For the end itself: whoever waits for all answers goes on.

    async def _send(self, channel: AbstractChannel, tag: int, *, ack: bool) -> None:
        try:
            async with translate_errors("answering a message"):
                if ack:
                    await channel.basic_ack(tag)
                else:
                    await channel.basic_nack(tag, requeue=True)
        except BrokerUnavailable as error:
            _log.debug("a message goes back to its queue: %s", error)
            await self._connection.close_channel(channel)

    def finish(self) -> None:
        """Make `run` end."""
        self._answers.put_nowait(None)


async def _take(channel: AbstractChannel, queue: str) -> DeliveredMessage | None:
    try:
        return await channel.basic_get(queue)
    except ChannelNotFoundEntity:
        return None


def _read(taken: DeliveredMessage, desk: GetChannel, tag: int) -> GetDelivery:
    properties = taken.header.properties
    # pamqp writes floating-point numbers in 32 bits, in which a time is wrong by up to a minute.
    written_at = (properties.headers or {}).get(TIME)
    received = receive(
        properties.marshal(), taken.body, time.time(), redelivered=bool(taken.redelivered)
    )
    message = received.message
    if isinstance(written_at, float) and abs(written_at - message.timestamp) < _ROUGHLY:
        message = replace(message, timestamp=written_at)
    return GetDelivery(message, received.redeliveries, desk, tag)
