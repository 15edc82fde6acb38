"""Request and reply, by RabbitMQ's direct reply-to (https://www.rabbitmq.com/docs/direct-reply-to).

Requests go out, and replies come in, on one channel: the broker knows a requester by its channel.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Final

from pamqp import commands

from eventmesh.brokers.rabbitmq.link import Link
from eventmesh.brokers.rabbitmq.publishing import check_size, encoded, target_of
from eventmesh.brokers.rabbitmq.wire.channel import Channel, Refused, Returned
from eventmesh.brokers.rabbitmq.wire.connection import Connection
from eventmesh.brokers.rabbitmq.wire.properties import decode_properties
from eventmesh.clock import Clock
from eventmesh.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    InvocationTimeout,
    Throttled,
)
from eventmesh.message import Message
from eventmesh.topology import Route

REPLY_TO: Final = "amq.rabbitmq.reply-to"
RETRY_AFTER: Final = 1.0
MAX_OPEN: Final = 10_000
"""Requests of one process that may wait for their replies; more are throttled."""


class Requests:
    """Requests whose replies are awaited here, and the replies to others' requests."""

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._requests: Channel | None = None
        self._replies: Channel | None = None
        self._open: dict[str, asyncio.Future[Message]] = {}
        self._numbers = count(1)

    async def prepare(self, connection: Connection) -> None:
        """Open the channels of a new connection."""
        requests = await connection.open_channel()
        await requests.call(commands.Confirm.Select())
        await requests.consume(REPLY_TO, 0, self._on_reply, no_ack=True)
        self._replies = await connection.open_channel()
        self._requests = requests

    async def request(self, route: Route, message: Message) -> Message:
        """As `Broker.request` says."""
        check_size(message)
        if message.deadline is None:
            raise ValueError(f"the request {message.id!r} has no deadline: no wait is for ever")
        if len(self._open) >= MAX_OPEN:
            raise Throttled(f"{MAX_OPEN:,} requests of this process wait for replies", RETRY_AFTER)
        remaining = message.deadline - self._clock.now()
        if remaining <= 0:
            raise InvocationTimeout(f"{route.name} was not called: the deadline had passed")
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(remaining, partial(_time_out, reply, route, remaining))
        correlation_id = str(next(self._numbers))
        self._open[correlation_id] = reply
        try:
            await self._publish(route, message, correlation_id, reply)
            return await reply
        finally:
            timer.cancel()
            del self._open[correlation_id]

    async def _publish(
        self, route: Route, message: Message, correlation_id: str, reply: asyncio.Future[Message]
    ) -> None:
        channel = self._requests
        if channel is None or channel.closed.done():
            channel = await self._open_channel(reply)
        remaining = (message.deadline or 0.0) - self._clock.now()
        properties = encoded(
            replace(message, reply_to=REPLY_TO, correlation_id=correlation_id),
            durable=False,
            expiration=max(int(remaining * 1000), 1),
        )
        target = target_of(route.exchange, route.key, mandatory=True)
        confirmed = channel.publish(target, properties, message.body, message.id)
        confirmed.add_done_callback(partial(_published, reply, route))

    async def _open_channel(self, reply: asyncio.Future[Message]) -> Channel:
        """The channel, once there is one, within the request's deadline, which ends `reply`."""
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(self._reopen())
            await asyncio.wait((opening, reply), return_when=asyncio.FIRST_COMPLETED)
            opening.cancel()
        if reply.done():
            reply.result()
        return opening.result()

    async def _reopen(self) -> Channel:
        connection = await self._link.wait_connected()
        if self._requests is None or self._requests.closed.done():
            # The broker closed the channel alone: so a new one, on the same connection.
            await self.prepare(connection)
        if self._requests is None:
            raise BrokerUnavailable(f"there is no connection to RabbitMQ: {self._link.trouble}")
        return self._requests

    def reply(self, request: Message, reply: Message) -> None:
        """As `Broker.reply` says: nothing waits for it and nothing is sent again."""
        channel = self._replies
        if request.reply_to and channel is not None and not channel.closed.done():
            target = target_of("", request.reply_to, mandatory=False)
            channel.publish_unconfirmed(target, encoded(reply, durable=False), reply.body)

    def _on_reply(self, tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None:
        del tag  # Replies are not acknowledged.
        reply = decode_properties(properties, body, time.time(), redelivered=redelivered).message
        waiting = self._open.get(reply.correlation_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)


def _time_out(reply: asyncio.Future[Message], route: Route, waited: float) -> None:
    if not reply.done():
        reply.set_exception(InvocationTimeout(f"{route.name} did not answer within {waited:g} s"))


def _published(
    reply: asyncio.Future[Message], route: Route, confirmed: asyncio.Future[None]
) -> None:
    """The request was stored, or why it was not: then nobody will reply."""
    error = None if confirmed.cancelled() else confirmed.exception()
    if error is None or reply.done():
        return
    if isinstance(error, Returned):
        reply.set_exception(FunctionNotFound(route.name))
    elif isinstance(error, Refused):
        reply.set_exception(Throttled(f"the line of callers of {route.name} is full", RETRY_AFTER))
    else:
        reply.set_exception(error)
