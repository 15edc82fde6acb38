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
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused, Returned, Unsent
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.properties import receive
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.publish_channel import PublishChannel
from eventmesh.brokers.rabbitmq.datapath.publisher import (
    PUBLISH_SECONDS,
    encode_message,
    encode_route,
    line_of,
)
from eventmesh.brokers.rabbitmq.datapath.refusals import QUEUE_FULL_RETRY_SECONDS, Count, Refusals
from eventmesh.brokers.rabbitmq.limits import MAX_EXPIRATION_MS
from eventmesh.model.duration import format_seconds
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionNotFound,
    InvocationTimeout,
    Throttled,
)
from eventmesh.model.ids import new_id
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
        *,
        count: Count | None = None,
    ) -> None:
        """`timeout` is the seconds to wait for a connection, within the deadline; 0 to not wait.

        `user` is that of the connection, from `encode_user`. With `names`, those of the restricted
        topology, replies come through an exchange and a queue, and not by direct reply-to. `count`
        counts the messages that wait in a queue; without it no queue is known to be full.
        """
        self._user = user
        self._names = names
        self._reply_addresses: dict[Channel, str] = {}
        self._connection = connection
        self._clock = clock
        self._timeout = timeout or PUBLISH_SECONDS
        self._publish_channel = PublishChannel(
            connection, self._open_channel, wait_for_connection=timeout > 0
        )
        self._refusals = Refusals(
            self._publish_channel, clock, count, self._retire, patient=timeout > 0
        )
        self._open: dict[str, asyncio.Future[Message]] = {}
        self._again: dict[asyncio.Future[Message], Channel] = {}
        """The replies to requests that were sent again, and on which channel."""
        self._tried: set[Channel] = set()
        """New channels on which no request was stored yet."""
        self._retired: dict[Channel, set[asyncio.Future[Message]]] = {}
        """Channels that were replaced, with the replies that may still come there."""

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
        channel.closed.add_done_callback(partial(self._on_closed, channel))
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
        address = self._reply_addresses[channel] = urandom(16).hex()
        await channel.call(commands.Queue.Bind(queue=queue, exchange=REPLIES, routing_key=address))
        return queue

    async def request(self, route: Route, message: Message) -> Message:
        """Send a request and wait for its reply; see `Broker.request`."""
        check_size(message)
        if message.deadline is None:
            raise ValueError(f"the request {message.id!r} has no deadline: set one")
        remaining = message.deadline - self._clock.monotonic()
        if remaining <= 0:
            raise InvocationTimeout(f"{route.name} was not called: the deadline had passed")
        channel = self._publish_channel.get()
        if channel is None:
            channel = await self._wait(route, message.deadline)
            remaining = message.deadline - self._clock.monotonic()
        if len(self._open) >= MAX_OPEN:
            raise Throttled(
                f"{MAX_OPEN:,} requests of this process wait for replies", QUEUE_FULL_RETRY_SECONDS
            )
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(remaining, partial(_time_out, reply, route, remaining))
        correlation_id = _new_correlation_id()
        self._open[correlation_id] = reply
        try:
            self._publish(channel, route, message, correlation_id, remaining).add_done_callback(
                partial(_published, reply, route)
            )
            return await reply
        except Refused:
            pass  # It is published again below.
        finally:
            timer.cancel()
            del self._open[correlation_id]
        return await self._request_again(route, message, message.deadline, channel)

    async def _request_again(
        self, route: Route, message: Message, deadline: float, refused_by: Channel
    ) -> Message:
        """Send a request again that a channel refused, on other ones, and wait for its reply."""
        started = self._clock.monotonic()
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        correlation_id = _new_correlation_id()
        self._open[correlation_id] = reply

        async def resend(channel: Channel) -> None:
            if not self._publish_channel.uses(channel):
                self._tried.add(channel)
            self._again[reply] = channel
            remaining = deadline - self._clock.monotonic()
            try:
                await self._publish(channel, route, message, correlation_id, remaining)
            except Returned:
                raise FunctionNotFound(route.name) from None
            except Unsent as error:
                raise BrokerUnavailable(f"{route.name} was not called: {error}") from None
            self._tried.discard(channel)

        line = line_of(encode_route(route.exchange, route.key, mandatory=True))
        try:
            with TimeLimit(self._clock, deadline - started):
                await self._refusals.publish_again(route, line, refused_by, resend, deadline)
                return await reply
        except TimeoutError:
            raise _timed_out(route, deadline - started) from None
        finally:
            del self._open[correlation_id]
            self._again.pop(reply, None)
            if reply.done() and not reply.cancelled():
                reply.exception()  # Marks it as retrieved.

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
            reply_to=REPLY_TO if self._names is None else self._reply_addresses[channel],
            correlation_id=correlation_id,
            user=self._user,
        )
        target = encode_route(route.exchange, route.key, mandatory=True)
        return channel.publish(target, properties, message.body, message.id)

    async def _wait(self, route: Route, deadline: float) -> Channel:
        """Wait for the channel to publish on."""
        try:
            with TimeLimit(self._clock, min(deadline - self._clock.monotonic(), self._timeout)):
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
        reply = receive(properties, body, self._clock, redelivered=redelivered).message
        waiting = self._open.get(reply.correlation_id)
        if waiting is None:
            # Late, or of somebody who guesses.
            _log.debug("a reply that no request waits for was dropped: %s", reply)
        elif not waiting.done():
            waiting.set_result(reply)

    def _retire(self, channel: Channel) -> None:
        """Close a channel that is not used any more, once no reply can come there."""
        waiting = self._replies_to(channel)
        if channel in self._tried or not waiting:
            channel.abandon()
            return
        self._retired[channel] = waiting
        for reply in tuple(waiting):
            reply.add_done_callback(partial(self._on_retired_reply, channel))

    def _replies_to(self, channel: Channel) -> set[asyncio.Future[Message]]:
        """Return the open replies that would come to the channel in use."""
        again = self._again
        return {reply for reply in self._open.values() if again.get(reply, channel) is channel}

    def _on_retired_reply(self, channel: Channel, reply: asyncio.Future[Message]) -> None:
        waiting = self._retired.get(channel, set())
        waiting.discard(reply)
        if not waiting:
            channel.abandon()

    def _on_closed(self, channel: Channel, closed: asyncio.Future[str]) -> None:
        """Fail the requests whose replies would come there: none can come on another channel."""
        self._tried.discard(channel)
        self._reply_addresses.pop(channel, None)
        waiting = self._retired.pop(channel, set())
        if self._publish_channel.uses(channel):
            waiting = self._replies_to(channel)
        for reply in waiting:
            _fail(
                reply,
                BrokerUnavailable(
                    f"the reply is lost with the channel to RabbitMQ ({closed.result()}); the "
                    "function may or may not have run"
                ),
            )


def _new_correlation_id() -> str:
    """Return 64 random bits: whoever answers one request knows nothing of the other ones.

    All requests of a process have one reply address.
    """
    return new_id()[:16]


def _fail(reply: asyncio.Future[Message], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)


def _time_out(reply: asyncio.Future[Message], route: Route, waited: float) -> None:
    _fail(reply, _timed_out(route, waited))


def _timed_out(route: Route, waited: float) -> InvocationTimeout:
    return InvocationTimeout(f"{route.name} did not answer within {format_seconds(waited)}")


def _published(
    reply: asyncio.Future[Message], route: Route, confirmed: asyncio.Future[None]
) -> None:
    """Fail the request if it was not stored: no reply will come."""
    error = confirmed.exception()
    if isinstance(error, Returned):
        _fail(reply, FunctionNotFound(route.name))
    elif isinstance(error, Unsent):
        _fail(reply, BrokerUnavailable(f"{route.name} was not called: {error}"))
    elif isinstance(error, (AccessDenied, BrokerUnavailable, Refused)):
        _fail(reply, error)
