"""Replies to requests by RabbitMQ's direct reply-to.

A reply address names a channel of the requester (https://www.rabbitmq.com/docs/direct-reply-to). A
reply reaches it over any connection of ours, also over the next one when the current one is lost.
"""

from __future__ import annotations

import logging
from typing import Final

from eventmesh.aio.clock import Clock
from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.publisher import (
    PUBLISH_SECONDS,
    encode_message,
    encode_route,
)
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.message import Message, check_size
from eventmesh.model.value import value

MAX_BUFFERED: Final = 64 * 1024 * 1024
"""Bytes that may wait for the socket. More replies are dropped: nothing else slows them down."""

MAX_HELD: Final = 10_000
"""Replies that may wait for the next connection, with MAX_BUFFERED bytes of bodies at most."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


@value
class _Held:
    """A reply that waits for a connection until the deadline of its request."""

    deadline: float
    target: bytes
    properties: bytes
    body: bytes


class ReplySender:
    """Sends replies, without waiting and without confirms."""

    def __init__(
        self,
        connection: ReconnectingConnection,
        clock: Clock,
        user: bytes = b"",
        exchange: str = "",
    ) -> None:
        """`user` is that of the connection, from `encode_user`.

        `exchange` is where replies are published; the default one for direct reply-to.
        """
        self._exchange = exchange
        self._user = user
        self._connection = connection
        self._clock = clock
        self._channel: Channel | None = None
        self._held: list[_Held] = []
        self._held_bytes = 0

    async def prepare(self, connection: AmqpConnection) -> None:
        """Open the channel of a new connection, and send the replies that wait for it.

        Raises BrokerUnavailable.
        """
        channel = self._channel = await connection.open_channel()
        # `reply` cannot wait for another channel, so the whole connection is opened anew.
        channel.closed.add_done_callback(
            lambda closed: connection.fail(f"the channel for replies ended: {closed.result()}")
        )
        held, now = self._take_held(), self._clock.monotonic()
        wanted = [reply for reply in held if reply.deadline > now]
        for reply in wanted:
            channel.publish_unconfirmed(reply.target, reply.properties, reply.body)
        if len(wanted) < len(held):
            _log.warning(
                "replies lost: %d; there was no connection to RabbitMQ until after their "
                "callers' deadlines",
                len(held) - len(wanted),
            )

    def close(self) -> None:
        """Drop the waiting replies: there will be no more connections."""
        lost = len(self._take_held())
        if lost:
            _log.warning("replies lost: %d; %s", lost, self._connection.unavailable_reason)

    def reply(self, request: Message, reply: Message) -> None:
        """Send a reply; see `Broker.reply`. Without a connection it waits for the next one.

        Raises PayloadTooLarge, PayloadInvalid, and BrokerUnavailable if too many wait already.
        """
        if not request.reply_to:
            return
        check_size(reply)
        target = encode_route(self._exchange, request.reply_to, mandatory=False)
        properties = encode_message(
            reply, durable=False, correlation_id=request.correlation_id, user=self._user
        )
        connection, channel = self._connection.current, self._channel
        if connection is None or channel is None:
            deadline = request.deadline or self._clock.monotonic() + PUBLISH_SECONDS
            self._hold(_Held(deadline, target, properties, reply.body))
            return
        if connection.buffered > MAX_BUFFERED:
            raise BrokerUnavailable(
                f"{connection.buffered:,} bytes wait to be sent already, and RabbitMQ takes none"
            )
        channel.publish_unconfirmed(target, properties, reply.body)

    def _hold(self, held: _Held) -> None:
        if len(self._held) >= MAX_HELD or self._held_bytes > MAX_BUFFERED:
            raise BrokerUnavailable(
                f"{self._connection.unavailable_reason}; {len(self._held):,} replies wait for one "
                "already"
            )
        self._held.append(held)
        self._held_bytes += len(held.body)

    def _take_held(self) -> list[_Held]:
        held, self._held, self._held_bytes = self._held, [], 0
        return held
