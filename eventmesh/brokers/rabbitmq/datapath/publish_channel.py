"""A channel to publish on, whenever there is a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.model.errors import BrokerUnavailable


class PublishChannel:
    """The channel of the current connection, opened again if only the channel was closed.

    The broker closes a channel because of one bad message, such as one to an exchange that does not
    exist. Other messages must not suffer from that.
    """

    def __init__(
        self,
        connection: ReconnectingConnection,
        make: Callable[[AmqpConnection], Awaitable[Channel]],
        *,
        wait_for_connection: bool,
    ) -> None:
        """`make` opens the channel. With `wait_for_connection`, `wait` waits for a connection."""
        self._connection = connection
        self._make = make
        self._wait_for_connection = wait_for_connection
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()

    async def open(self, connection: AmqpConnection) -> None:
        """Open the channel of a new connection. Raises BrokerUnavailable."""
        self._channel = await self._make(connection)

    @property
    def current(self) -> Channel | None:
        """The channel, if it is open, whether it takes a message now or not."""
        channel = self._channel
        return channel if channel is not None and channel.is_open else None

    def uses(self, channel: Channel) -> bool:
        """Whether this channel is the one in use, or was the last one."""
        return self._channel is channel

    async def open_another(self) -> Channel:
        """Open another channel of the connection. Raises BrokerUnavailable."""
        connection = self._connection.current
        if connection is None:
            raise BrokerUnavailable(self._connection.unavailable_reason)
        return await self._make(connection)

    def replace(self, channel: Channel | None) -> Channel | None:
        """Use another channel, or, without one, open one when it is next needed.

        Returns the channel that was in use, which stays open.
        """
        replaced, self._channel = self._channel, channel
        return replaced

    def get(self) -> Channel | None:
        """Return the channel if it takes a message now, else None.

        Raises BrokerUnavailable while the broker refuses messages.
        """
        connection, channel = self._connection.current, self._channel
        if connection is None:
            return None
        if connection.blocked:
            raise BrokerUnavailable(
                f"RabbitMQ takes no messages now: {connection.blocked}; see its alarms with "
                "'rabbitmq-diagnostics alarms'"
            )
        if channel is None or not channel.is_open or not connection.writable:
            return None
        if channel.paused:
            raise BrokerUnavailable("RabbitMQ takes no messages now: it stopped the channel's flow")
        return channel

    async def wait(self) -> Channel:
        """Wait until the channel takes a message. The caller limits the wait. Raises as `get`."""
        while (channel := self.get()) is None:
            if self._connection.current is None and not self._wait_for_connection:
                raise BrokerUnavailable(self._connection.unavailable_reason)
            connection = await self._connection.wait_connected()
            if not connection.writable:
                await connection.wait_writable()
            elif self._channel is None or not self._channel.is_open:
                await self._reopen(connection)
        return channel

    async def _reopen(self, connection: AmqpConnection) -> None:
        async with self._opening:
            if self._channel is not None and self._channel.is_open:
                return  # Another task has opened it meanwhile.
            try:
                await self.open(connection)
            except BrokerUnavailable:
                if not connection.closed.done():
                    raise
