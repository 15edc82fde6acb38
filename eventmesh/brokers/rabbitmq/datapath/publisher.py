"""Publishes with confirms: a bounded window of unconfirmed messages, and bounded waits."""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from typing import Final

from pamqp import commands

from eventmesh.aio.clock import Clock, SharedTimer, TimeLimit
from eventmesh.aio.waiters import WaitQueue
from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused, Returned
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.publish_channel import PublishChannel
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    PayloadInvalid,
    Throttled,
)
from eventmesh.model.message import Message, check_size
from eventmesh.model.topology import EVENTS, PRESENCE, Route

_log: Final = logging.getLogger("eventmesh.rabbitmq")

WINDOW: Final = 2_000
"""Messages that may be published and unconfirmed at once. Others wait for room in the window."""

PUBLISH_SECONDS: Final = 10.0
"""The limit for one publish, including the wait for a connection."""

QUEUE_FULL_RETRY_SECONDS: Final = 1.0

_EXCHANGES: Final = tuple(
    commands.Exchange.Declare(exchange=name, exchange_type="topic", durable=True)
    for name in (EVENTS, PRESENCE)
)
"""Exchanges that may have no subscribers, so that publishers must declare them. They are declared
with each channel, because RabbitMQ closes it when a message goes to one that does not exist."""

encode_route: Final = lru_cache(maxsize=8192)(publish_target)
"""The payload of basic.publish for a route; there are about as many as functions."""


class Publisher:
    """Publishes durable messages, each confirmed by the broker.

    `channel_generation` counts the channels that ended: exchanges may be gone after each.
    """

    def __init__(
        self,
        connection: ReconnectingConnection,
        clock: Clock,
        timeout: float,
        window: int = WINDOW,
        user: bytes = b"",
        *,
        declare: bool = True,
    ) -> None:
        """`timeout` is the seconds for one publish, including the wait for a connection.

        With 0 it fails at once without a connection, and waits PUBLISH_SECONDS for a confirm.
        `user` is that of the connection, from `encode_user`. `declare` says whether to declare the
        exchanges of events and presence, for which the user of one service has no permission.
        """
        self._exchanges = _EXCHANGES if declare else ()
        self._user = user
        self._connection = connection
        self._clock = clock
        self._timeout = timeout or PUBLISH_SECONDS
        self._window = window
        self._publish_channel = PublishChannel(
            connection, self._open, wait_for_connection=timeout > 0
        )
        self._waiting = WaitQueue()
        self._unconfirmed = SharedTimer[asyncio.Future[None]](clock, _give_up)
        self._under_way = 0
        self.channel_generation = 0

    async def prepare(self, connection: AmqpConnection) -> None:
        """Open the channel of a new connection. Raises BrokerUnavailable."""
        await self._publish_channel.open(connection)

    async def _open(self, connection: AmqpConnection) -> Channel:
        try:
            channel = await connection.open_channel(*self._exchanges, commands.Confirm.Select())
        except BrokerUnavailable as error:
            # The user may not declare them, or they exist with other arguments: use them as is.
            _log.info("the exchanges of events are not declared: %s", error)
            channel = await connection.open_channel(commands.Confirm.Select())
        channel.confirms.on_resolved = self._release_window
        channel.closed.add_done_callback(self._on_closed)
        return channel

    def _on_closed(self, _reason: asyncio.Future[str]) -> None:
        self.channel_generation += 1

    async def publish(self, route: Route, message: Message) -> None:
        """Return once the broker holds the message. Raises what `Broker.publish` says."""
        check_size(message)
        properties = encode_message(message, durable=True, user=self._user)
        ends = self._clock.now() + self._timeout
        channel = self._acquire_window_nowait() or await self._wait(route)
        confirmed = self._send(channel, route, properties, message)
        self._unconfirmed.add(confirmed, ends)
        try:
            await confirmed
        except TimeoutError:
            raise BrokerUnavailable(
                f"{route.name}: RabbitMQ did not confirm the message within {self._timeout:g} s; "
                "it may or may not be stored"
            ) from None
        except Returned:
            raise FunctionNotFound(route.name) from None
        except Refused:
            raise Throttled(
                f"the queue of {route.name} is full, or being deleted", QUEUE_FULL_RETRY_SECONDS
            ) from None
        finally:
            self._unconfirmed.remove(confirmed)

    def _send(
        self, channel: Channel, route: Route, properties: bytes, message: Message
    ) -> asyncio.Future[None]:
        """Publish. From then on the channel's confirm releases the room in the window."""
        try:
            target = encode_route(route.exchange, route.key, mandatory=route.mandatory)
            return channel.publish(target, properties, message.body, message.id)
        except BaseException:
            self._release_window()
            raise

    def _acquire_window_nowait(self) -> Channel | None:
        """Return the channel with room in its window, if both are available now."""
        if self._under_way >= self._window:
            return None
        channel = self._publish_channel.get()
        if channel is not None:
            self._under_way += 1
        return channel

    async def _wait(self, route: Route) -> Channel:
        """Wait for the channel, and for room in its window."""
        try:
            with TimeLimit(self._clock, self._timeout):
                await self._acquire_window()
                try:
                    return await self._publish_channel.wait()
                except BaseException:
                    self._release_window()
                    raise
        except TimeoutError:
            raise BrokerUnavailable(f"{route.name}: {self._why_not_sent()}") from None

    async def _acquire_window(self) -> None:
        if self._under_way < self._window:
            self._under_way += 1
        else:
            await self._waiting.wait(self._release_window)

    def _release_window(self) -> None:
        """Pass the room in the window to the longest-waiting publish."""
        if not self._waiting.wake_oldest():
            self._under_way -= 1

    def _why_not_sent(self) -> str:
        if self._connection.current is None:
            return f"the message was not sent: {self._connection.unavailable_reason}"
        return (
            f"the message was not sent within {self._timeout:g} s: RabbitMQ is slow, and "
            f"{self._under_way:,} others are under way"
        )


def _give_up(confirmed: asyncio.Future[None]) -> None:
    if not confirmed.done():
        confirmed.set_exception(TimeoutError())


def encode_message(
    message: Message,
    *,
    durable: bool,
    expiration: int | None = None,
    reply_to: str = "",
    correlation_id: str = "",
    user: bytes = b"",
) -> bytes:
    """Encode the properties. Raises PayloadInvalid for a message that does not fit into AMQP."""
    try:
        return encode_properties(
            message,
            durable=durable,
            expiration=expiration,
            reply_to=reply_to,
            correlation_id=correlation_id,
            user=user,
        )
    except ValueError as error:
        raise PayloadInvalid(f"the message {message.id[:40]} cannot be sent: {error}") from None
