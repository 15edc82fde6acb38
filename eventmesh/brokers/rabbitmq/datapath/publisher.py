"""Publishes with confirms: a bounded window of unconfirmed messages, and bounded waits."""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache, partial
from typing import Final

from pamqp import commands

from eventmesh.aio.clock import Clock, SharedTimer, TimeLimit
from eventmesh.aio.waiters import WaitQueue
from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused, Returned, Unsent
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.give_ups import STUCK_SECONDS, GiveUps
from eventmesh.brokers.rabbitmq.datapath.publish_channel import PublishChannel
from eventmesh.brokers.rabbitmq.datapath.refusals import Count, Refusals
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    InvocationError,
    PayloadInvalid,
)
from eventmesh.model.message import Message, check_size
from eventmesh.model.topology import EVENTS, PRESENCE, Route
from eventmesh.model.value import value

_log: Final = logging.getLogger("eventmesh.rabbitmq")

WINDOW: Final = 2_000
"""Messages that may be published and unconfirmed at once. Others wait for room in the window."""

PUBLISH_SECONDS: Final = 10.0
"""The limit for one publish, including the wait for a connection."""

ROUTE_WINDOW: Final = WINDOW // 4
"""Those of them that may go to one queue: one that answers nothing does not stop the others."""

_EXCHANGES: Final = tuple(
    commands.Exchange.Declare(exchange=name, exchange_type="topic", durable=True)
    for name in (EVENTS, PRESENCE)
)
"""Exchanges that may have no subscribers, so that publishers must declare them. They are declared
with each channel, because RabbitMQ closes it when a message goes to one that does not exist."""

encode_route: Final = lru_cache(maxsize=8192)(publish_target)
"""The payload of basic.publish for a route; there are about as many as functions."""

_EXCHANGE_LENGTH: Final = 6
"""The offset of the length of the exchange's name in that payload."""


@lru_cache(maxsize=8192)
def line_of(target: bytes) -> bytes:
    """Return what identifies the queue of a target: all keys of a delay level lead to one queue."""
    start = _EXCHANGE_LENGTH + 1
    exchange = target[start : start + target[_EXCHANGE_LENGTH]]
    return target if exchange in _MANY_QUEUES else exchange


_MANY_QUEUES: Final = (b"", EVENTS.encode(), PRESENCE.encode())
"""Exchanges whose keys lead to different queues."""


@value
class _Refused:
    """A message that a channel refused, with the time by which it must be stored."""

    route: Route
    target: bytes
    properties: bytes
    message: Message
    ends: float


@lru_cache(maxsize=8192)
def _encode(exchange: str, key: str, mandatory: bool) -> tuple[bytes, bytes]:  # noqa: FBT001 faster
    """Return the payload of basic.publish for a route, and what identifies its queue."""
    target = publish_target(exchange, key, mandatory=mandatory)
    return target, line_of(target)


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
        count: Count | None = None,
    ) -> None:
        """`timeout` is the seconds for one publish, including the wait for a connection.

        With 0 it fails at once without a connection, and waits PUBLISH_SECONDS for a confirm.
        `user` is that of the connection, from `encode_user`. `declare` says whether to declare the
        exchanges of events and presence, for which the user of one service has no permission.
        `count` counts the messages that wait in a queue; without it no queue is known to be full.
        """
        self._exchanges = _EXCHANGES if declare else ()
        self._user = user
        self._connection = connection
        self._clock = clock
        self._timeout = timeout or PUBLISH_SECONDS
        self._window = window
        self._route_window = min(window, ROUTE_WINDOW)
        self._publish_channel = PublishChannel(
            connection, self._open, wait_for_connection=timeout > 0
        )
        self._refusals = Refusals(
            self._publish_channel, clock, count, self._retire, patient=timeout > 0
        )
        self._give_ups = GiveUps(clock, self._route_window)
        self._unconfirmed = SharedTimer[asyncio.Future[None]](clock, self._give_up)
        self._patient: set[asyncio.Future[None]] = set()
        """Confirms that are waited for as long as their channel lives."""
        self._waiting = WaitQueue()
        self._under_way = 0
        self._lines: dict[bytes, int] = {}
        """How many messages are under way to each queue."""
        self._line_waiting: dict[bytes, WaitQueue] = {}
        """Who waits until fewer are under way to a queue; it is a key only while somebody does."""
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
        channel.confirms.on_resolved = self._release
        channel.closed.add_done_callback(self._on_closed)
        return channel

    def _on_closed(self, _reason: asyncio.Future[str]) -> None:
        self.channel_generation += 1

    async def publish(self, route: Route, message: Message, *, give_up: bool = True) -> None:
        """Return once the broker holds the message. See `Broker.publish`."""
        check_size(message)
        properties = encode_message(message, durable=True, user=self._user)
        target, line = _encode(route.exchange, route.key, route.mandatory)
        ends = self._clock.monotonic() + self._timeout
        channel = self._acquire_nowait(line) or await self._wait(route, target)
        try:
            # From then on the channel's confirm releases the room in the window.
            confirmed = channel.publish(target, properties, message.body, message.id)
        except BaseException:
            self._release(target)
            raise
        self._unconfirmed.add(confirmed, ends)
        if not give_up:
            self._patient.add(confirmed)
        try:
            await confirmed
            return
        except Refused:
            unsent = False  # It is published again below.
        except Unsent:
            unsent = True
        except (TimeoutError, Returned) as error:
            raise self._translate(error, route) from None
        finally:
            self._unconfirmed.remove(confirmed)
            if not give_up:
                self._patient.discard(confirmed)
        refused = _Refused(route, target, properties, message, ends)
        if unsent:
            channel = await self._wait(route, target)
            self._release(target)
            try:
                await self._resend(refused, channel)
                return
            except Refused:
                pass
        resend = partial(self._resend, refused)
        await self._refusals.publish_again(route, line, channel, resend, ends)

    async def _resend(self, refused: _Refused, channel: Channel) -> None:
        """Publish what was refused on another channel. Raises Refused as well."""
        self._acquire(refused.target)
        message = refused.message
        try:
            confirmed = channel.publish(
                refused.target, refused.properties, message.body, message.id
            )
        except BaseException:
            self._release(refused.target)
            raise
        self._unconfirmed.add(confirmed, refused.ends)
        try:
            await confirmed
        except (TimeoutError, Returned, Unsent) as error:
            raise self._translate(error, refused.route) from None
        finally:
            self._unconfirmed.remove(confirmed)

    def _translate(self, error: Exception, route: Route) -> InvocationError:
        if isinstance(error, Returned):
            return FunctionNotFound(route.name)
        if isinstance(error, Unsent):
            return BrokerUnavailable(f"{route.name}: {error}; the message was not stored")
        return BrokerUnavailable(
            f"{route.name}: RabbitMQ did not confirm the message within {self._timeout:g} s; "
            "it may or may not be stored"
        )

    def _acquire_nowait(self, line: bytes) -> Channel | None:
        """Return the channel with room in its window, if both are available now."""
        if self._under_way >= self._window:
            return None
        lines = self._lines
        count = lines.get(line, 0)
        if count >= self._route_window:
            return None
        channel = self._publish_channel.get()
        if channel is not None:
            self._under_way += 1
            lines[line] = count + 1
        return channel

    def _acquire(self, target: bytes) -> None:
        """Take room in the window, also beyond its end."""
        line = line_of(target)
        self._under_way += 1
        self._lines[line] = self._lines.get(line, 0) + 1

    async def _wait(self, route: Route, target: bytes) -> Channel:
        """Wait for the channel, and for room in its window."""
        line = line_of(target)
        try:
            with TimeLimit(self._clock, self._timeout):
                await self._acquire_line(line)
                try:
                    await self._acquire_window()
                except BaseException:
                    self._release_line(line)
                    raise
                try:
                    return await self._publish_channel.wait()
                except BaseException:
                    self._release(target)
                    raise
        except TimeoutError:
            reason = self._why_not_sent(line)
            self._look_for_stuck_channel()
            raise BrokerUnavailable(f"{route.name}: {reason}") from None

    async def _acquire_line(self, line: bytes) -> None:
        count = self._lines.get(line, 0)
        if count < self._route_window:
            self._lines[line] = count + 1
            return
        waiting = self._line_waiting.setdefault(line, WaitQueue())
        await waiting.wait(partial(self._release_line, line))

    async def _acquire_window(self) -> None:
        if self._under_way < self._window:
            self._under_way += 1
        else:
            await self._waiting.wait(self._release_window)

    def _release(self, target: bytes) -> None:
        """Give the room of a message back, to whoever waits for it."""
        line = line_of(target)
        if self._line_waiting or self._under_way >= self._window:
            self._release_line(line)
            self._release_window()
            return
        # Nobody waits: who waits for the window does so only while it is full.
        self._under_way -= 1
        count = self._lines[line] - 1
        if count:
            self._lines[line] = count
        else:
            del self._lines[line]

    def _release_line(self, line: bytes) -> None:
        """Pass the room of a queue to the longest-waiting publish to it."""
        if self._line_waiting:
            waiting = self._line_waiting.get(line)
            if waiting is not None:
                if self._lines[line] <= self._route_window and waiting.wake_oldest():
                    return
                if not len(waiting):
                    del self._line_waiting[line]
        count = self._lines[line] - 1
        if count:
            self._lines[line] = count
        else:
            del self._lines[line]

    def _release_window(self) -> None:
        """Pass the room in the window to the longest-waiting publish."""
        if self._under_way > self._window or not self._waiting.wake_oldest():
            self._under_way -= 1

    def _why_not_sent(self, line: bytes) -> str:
        if self._connection.current is None:
            return f"the message was not sent: {self._connection.unavailable_reason}"
        under_way, where = self._under_way, ""
        if self._lines.get(line, 0) >= self._route_window:
            under_way, where = self._lines[line], " to the same queue"
        return (
            f"the message was not sent within {self._timeout:g} s: RabbitMQ is slow, and "
            f"{under_way:,} others are under way{where}"
        )

    def _give_up(self, confirmed: asyncio.Future[None]) -> None:
        if confirmed.done():
            return
        if confirmed not in self._patient:
            confirmed.set_exception(TimeoutError())
        channel = self._publish_channel.current
        if channel is None:
            return
        self._give_ups.add(channel)
        if self._connection.has_alternatives and self._give_ups.is_cut_off():
            self._connection.leave("it confirms no messages any more")
        else:
            self._look_for_stuck_channel()

    def _look_for_stuck_channel(self) -> None:
        """Have a new channel opened where too much of the window has been lost for too long."""
        channel = self._publish_channel.current
        if channel is not None and self._give_ups.is_stuck(channel):
            _log.warning(
                "RabbitMQ does not confirm %d messages that were published over %g s ago: their "
                "queues may have no leader; a new channel is used",
                channel.confirms.count_abandoned(),
                STUCK_SECONDS,
            )
            self._publish_channel.replace(None)
            self._retire(channel)

    def _retire(self, channel: Channel) -> None:
        """Close a channel that is not used any more, as soon as no publisher waits for it."""
        for target in channel.confirms.forget_abandoned():
            self._release(target)
        channel.confirms.on_resolved = partial(self._release_retired, channel)
        self._close_unused(channel)
        # By then the last of its publishers has given up.
        self._clock.call_later(self._timeout, channel.abandon)

    def _release_retired(self, channel: Channel, target: bytes) -> None:
        self._release(target)
        self._close_unused(channel)

    def _close_unused(self, channel: Channel) -> None:
        if not len(channel.confirms):
            channel.abandon()


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
