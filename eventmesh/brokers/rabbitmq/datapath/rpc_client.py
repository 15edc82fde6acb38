"""Request and reply by RabbitMQ's direct reply-to (https://www.rabbitmq.com/docs/direct-reply-to).

Requests and replies use one channel: the broker knows a requester by its channel.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from os import urandom
from typing import Final

from pamqp import commands

from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.brokers.rabbitmq.access.names import REPLIES, Names
from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused, Returned
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.properties import receive
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.publish_channel import PublishChannel
from eventmesh.brokers.rabbitmq.datapath.publisher import (
    PUBLISH_SECONDS,
    encode_message,
    encode_route,
)
from eventmesh.brokers.rabbitmq.datapath.refusals import QUEUE_FULL_RETRY_SECONDS
from eventmesh.brokers.rabbitmq.limits import MAX_EXPIRATION_MS
from eventmesh.model.duration import format_seconds
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    InvocationTimeout,
    Throttled,
)
from eventmesh.model.message import Message, check_size
from eventmesh.model.topology import Route

_log: Final = logging.getLogger("eventmesh.rabbitmq")

REPLY_TO: Final = "amq.rabbitmq.reply-to"
MAX_OPEN: Final = 10_000
"""Requests of one process that may wait for replies at once; more are throttled."""


class RpcClient:
    """Sends requests and waits for their replies."""

    def __init__(
        self,
        connection: ReconnectingConnection,
        clock: Clock,
        timeout: float,
        user: bytes = b"",
        names: Names | None = None,
    ) -> None:
        """`timeout` is the seconds to wait for a connection, within the deadline; 0 to not wait.

        `user` is that of the connection, from `encode_user`. With `names`, those of the restricted
        topology, replies come through an exchange and a queue, and not by direct reply-to.
        """
        self._user = user
        self._names = names
        self._reply_to = REPLY_TO
        self._connection = connection
        self._clock = clock
        self._timeout = timeout or PUBLISH_SECONDS
        self._publish_channel = PublishChannel(
            connection, self._open_channel, wait_for_connection=timeout > 0
        )
        self._open: dict[str, asyncio.Future[Message]] = {}

    async def prepare(self, connection: AmqpConnection) -> None:
        """Open the channel of a new connection. Raises BrokerUnavailable."""
        await self._publish_channel.open(connection)

    async def _open_channel(self, connection: AmqpConnection) -> Channel:
        channel = await connection.open_channel(commands.Confirm.Select())
        try:
            queue = (
                REPLY_TO if self._names is None else await self._make_queue(channel, self._names)
            )
            await channel.consume(queue, 0, self._on_reply, no_ack=True)
        except BaseException:
            channel.abandon()
            raise
        channel.closed.add_done_callback(self._on_closed)
        return channel

    async def _make_queue(self, channel: Channel, names: Names) -> str:
        """Make a queue of this connection, and a reply address that nobody can guess."""
        queue = names.reply_queues + urandom(8).hex()
        await channel.call(
            commands.Queue.Declare(
                queue=queue,
                exclusive=True,
                auto_delete=True,
                arguments={"x-queue-type": "classic"},
            )
        )
        self._reply_to = urandom(16).hex()
        await channel.call(
            commands.Queue.Bind(queue=queue, exchange=REPLIES, routing_key=self._reply_to)
        )
        return queue

    async def request(self, route: Route, message: Message) -> Message:
        """Send a request and wait for its reply; see `Broker.request`."""
        check_size(message)
        if message.deadline is None:
            raise ValueError(f"the request {message.id!r} has no deadline: set one")
        if message.deadline <= self._clock.now():
            raise InvocationTimeout(f"{route.name} was not called: the deadline had passed")
        channel = self._publish_channel.get() or await self._wait(route, message.deadline)
        if len(self._open) >= MAX_OPEN:
            raise Throttled(
                f"{MAX_OPEN:,} requests of this process wait for replies", QUEUE_FULL_RETRY_SECONDS
            )
        remaining = message.deadline - self._clock.now()
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(remaining, partial(_time_out, reply, route, remaining))
        # 64 random bits: whoever answers one request knows nothing of the other ones, and all of a
        # process have one reply address.
        correlation_id = urandom(8).hex()
        self._open[correlation_id] = reply
        try:
            self._publish(channel, route, message, correlation_id, remaining).add_done_callback(
                partial(_published, reply, route)
            )
            return await reply
        finally:
            timer.cancel()
            del self._open[correlation_id]

    def _publish(
        self,
        channel: Channel,
        route: Route,
        message: Message,
        correlation_id: str,
        remaining: float,
    ) -> asyncio.Future[None]:
        properties = encode_message(
            message,
            durable=False,
            expiration=min(max(int(remaining * 1000), 1), MAX_EXPIRATION_MS),
            reply_to=self._reply_to,
            correlation_id=correlation_id,
            user=self._user,
        )
        target = encode_route(route.exchange, route.key, mandatory=True)
        return channel.publish(target, properties, message.body, message.id)

    async def _wait(self, route: Route, deadline: float) -> Channel:
        """Wait for the channel to publish on."""
        try:
            with TimeLimit(self._clock, min(deadline - self._clock.now(), self._timeout)):
                return await self._publish_channel.wait()
        except TimeoutError:
            failure = (
                "RabbitMQ is slow"
                if self._connection.current
                else self._connection.unavailable_reason
            )
            raise BrokerUnavailable(f"{route.name} was not called: {failure}") from None

    def _on_reply(self, tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None:
        del tag  # Replies are not acknowledged.
        reply = receive(properties, body, self._clock.now(), redelivered=redelivered).message
        waiting = self._open.get(reply.correlation_id)
        if waiting is None:
            # Late, or of somebody who guesses.
            _log.debug("a reply that no request waits for was dropped: %s", reply)
        elif not waiting.done():
            waiting.set_result(reply)

    def _on_closed(self, closed: asyncio.Future[str]) -> None:
        """Fail all open requests: their replies cannot come on another channel."""
        for reply in self._open.values():
            _fail(
                reply,
                BrokerUnavailable(
                    f"the reply is lost with the channel to RabbitMQ ({closed.result()}); the "
                    "function may or may not have run"
                ),
            )


def _fail(reply: asyncio.Future[Message], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)


def _time_out(reply: asyncio.Future[Message], route: Route, waited: float) -> None:
    _fail(reply, InvocationTimeout(f"{route.name} did not answer within {format_seconds(waited)}"))


def _published(
    reply: asyncio.Future[Message], route: Route, confirmed: asyncio.Future[None]
) -> None:
    """Fail the request if it was not stored: no reply will come."""
    error = confirmed.exception()
    if isinstance(error, Returned):
        _fail(reply, FunctionNotFound(route.name))
    elif isinstance(error, Refused):
        reason = f"the RPC queue of {route.name} is full"
        _fail(reply, Throttled(reason, QUEUE_FULL_RETRY_SECONDS))
    elif isinstance(error, BrokerUnavailable):
        _fail(reply, error)
