"""Publishing with confirms: at most so many messages under way, and no wait without an end."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache
from typing import Final

from pamqp import commands

from eventmesh.brokers.rabbitmq.link import Link
from eventmesh.brokers.rabbitmq.wire.channel import Channel, Refused, Returned
from eventmesh.brokers.rabbitmq.wire.connection import MAX_BODY, Connection
from eventmesh.brokers.rabbitmq.wire.frames import publish_target
from eventmesh.brokers.rabbitmq.wire.properties import encode_properties
from eventmesh.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    PayloadInvalid,
    PayloadTooLarge,
    Throttled,
)
from eventmesh.message import Message
from eventmesh.topology import Route

WINDOW: Final = 2_000
"""Messages that may be under way, published and not confirmed. More wait for their turn."""

RETRY_AFTER: Final = 1.0

target_of: Final = lru_cache(maxsize=8192)(publish_target)
"""The payload of basic.publish for a route; there are about as many as functions."""


class Publisher:
    """Publishes durable messages, each confirmed by the broker."""

    def __init__(self, link: Link, timeout: float) -> None:
        """`timeout` is seconds for one publish in all, waiting for a connection included."""
        self._link = link
        self._timeout = timeout
        self._channel: Channel | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._under_way = 0

    async def prepare(self, connection: Connection) -> None:
        """Open the channel of a new connection."""
        channel = await connection.open_channel()
        await channel.call(commands.Confirm.Select())
        self._channel = channel

    async def publish(self, route: Route, message: Message) -> None:
        """Return once the broker holds the message. Raises what `Broker.publish` says."""
        check_size(message)
        target = target_of(route.exchange, route.key, mandatory=route.mandatory)
        properties = encoded(message, durable=True)
        try:
            async with asyncio.timeout(self._timeout):
                await self._take_turn()
                try:
                    channel = await self._open_channel()
                    await channel.publish(target, properties, message.body, message.id)
                finally:
                    self._give_turn()
        except TimeoutError:
            raise BrokerUnavailable(
                f"{route.name}: RabbitMQ did not confirm the message within {self._timeout:g} s "
                f"({self._state()}); it may or may not be stored"
            ) from None
        except Returned:
            raise FunctionNotFound(route.name) from None
        except Refused:
            raise Throttled(f"the queue of {route.name} is full", RETRY_AFTER) from None

    async def _take_turn(self) -> None:
        if self._under_way < WINDOW and not self._waiting:
            self._under_way += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_turn()
            raise

    def _give_turn(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._under_way -= 1

    async def _open_channel(self) -> Channel:
        """The channel to publish on, once there is one that takes messages."""
        while True:
            connection = self._link.connection or await self._link.wait_connected()
            if connection.blocked:
                raise BrokerUnavailable(
                    f"RabbitMQ takes no messages now: {connection.blocked}; see its alarms with "
                    "'rabbitmq-diagnostics alarms'"
                )
            if not connection.writable:
                await connection.wait_writable()
                continue
            if self._channel is not None and not self._channel.closed.done():
                return self._channel
            # The broker closed the channel alone: so a new one, on the same connection.
            await self.prepare(connection)

    def _state(self) -> str:
        connection = self._link.connection
        return self._link.trouble if connection is None else "it is connected"


def encoded(message: Message, *, durable: bool, expiration: int | None = None) -> bytes:
    """The message's properties. Raises PayloadInvalid for one that does not fit into AMQP."""
    try:
        return encode_properties(message, durable=durable, expiration=expiration)
    except ValueError as error:
        raise PayloadInvalid(f"the message {message.id[:40]} cannot be sent: {error}") from None


def check_size(message: Message) -> None:
    """Raises PayloadTooLarge for what RabbitMQ would refuse, and close the channel for."""
    if len(message.body) > MAX_BODY:
        raise PayloadTooLarge(len(message.body), MAX_BODY)
