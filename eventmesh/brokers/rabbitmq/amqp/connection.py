"""One connection: frames in both directions, heartbeats, and the end."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterator
from typing import Final, TypeVar, cast

from pamqp import base, commands

from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.amqp import frames
from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.reader import FrameReader
from eventmesh.brokers.rabbitmq.connect_errors import ACCESS_REFUSED, NOT_ALLOWED, connect_error
from eventmesh.brokers.rabbitmq.endpoints import Endpoint
from eventmesh.brokers.rabbitmq.limits import MAX_INCOMING_BODY
from eventmesh.brokers.rabbitmq.timing import CLOSE_SECONDS
from eventmesh.model.errors import BrokerUnavailable, InvocationError

FLUSH_AT: Final = 64 * 1024
"""Bytes that are written at once: transports report too many bytes only after a write."""

MAX_UNSENT: Final = 128 * 1024 * 1024
"""Bytes that may wait for a socket that takes none. Publishers stop long before, but acks and
replies are written regardless of that."""

FrameT = TypeVar("FrameT", bound=base.Frame)


class AmqpConnection(asyncio.Protocol):
    """A connection that is open until `closed` is done, with the reason of its end.

    All data of one pass of the event loop goes out in one write. `blocked` is why the broker
    refuses messages now (connection.blocked), or "". `writable` says whether the socket takes
    more, so that a slow broker slows its publishers down. `silent` says that it ended because
    nothing came from the broker.
    """

    def __init__(self, address: Address, endpoint: Endpoint | None = None) -> None:
        """`endpoint` is where it was opened."""
        self.address = address
        self.endpoint = endpoint
        self.frame_max = frames.SIZE_MAX
        self.max_body = MAX_INCOMING_BODY
        self.blocked = ""
        self.writable = True
        self.silent = False
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()
        self._reader = FrameReader(frames.SIZE_MAX + frames.SIZE_SLACK)
        self._channels: dict[int, Channel] = {}
        self._free_numbers: list[int] = []
        self._numbers: Iterator[int] = iter(())
        self._said: deque[base.Frame] = deque()
        self._reply_code = 0
        self._changed = asyncio.Event()
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._heartbeat = 0
        self._timer: asyncio.TimerHandle | None = None
        self._heard = self._loop.time()
        self._written = False

    # Calls from asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(frames.PROTOCOL_HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was lost ({exc})" if exc else "the connection was lost")
        self._set_timer(None)
        self._gone.set()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for kind, number, payload in self._reader.feed(data):
                self._on_frame(kind, number, payload)
                if self.closed.done():
                    return
        except (ValueError, IndexError, struct.error) as error:
            # Nothing after an unreadable frame can be trusted.
            self.fail(f"a frame cannot be read: {error}")

    def _on_frame(self, kind: int, number: int, payload: bytes) -> None:
        channel = self._channels.get(number)
        if kind == frames.METHOD_TYPE:
            self._on_method(channel, number, payload)
        elif kind == frames.HEARTBEAT_TYPE:
            return
        elif channel is None:
            raise ValueError(f"it is of type {kind} on channel {number}, which is not open")
        elif kind == frames.HEADER_TYPE:
            channel.on_header(payload)
        elif kind == frames.BODY_TYPE:
            channel.on_body(payload)
        else:
            raise ValueError(f"its type {kind} is unknown")

    def _on_method(self, channel: Channel | None, number: int, payload: bytes) -> None:
        if channel is None:
            if number:
                raise ValueError(f"it is a method on channel {number}, which is not open")
            self._on_command(frames.parse_method(payload))
            return
        what = payload[:4]
        if what == frames.DELIVER:
            channel.on_deliver(payload)
        elif what == frames.ACK:
            channel.confirms.on_confirm(payload, acked=True)
        elif what == frames.NACK:
            channel.confirms.on_confirm(payload, acked=False)
        elif what == frames.RETURN:
            channel.on_return(payload)
        else:
            channel.on_method(frames.parse_method(payload))

    def _on_command(self, command: base.Frame) -> None:
        match command:
            case commands.Connection.Blocked():
                self.blocked = command.reason or "an alarm"
                self._wake()
            case commands.Connection.Unblocked():
                self.blocked = ""
            case commands.Connection.Close():
                self._on_close(command)
            case _ if self._said:
                raise ValueError(f"{command.name} answers nothing that was asked")
            case _:
                self._said.append(command)
                self._wake()

    def _on_close(self, command: commands.Connection.Close) -> None:
        self._reply_code = command.reply_code or 0
        self.send(commands.Connection.CloseOk())
        self._flush()
        self._end(f"RabbitMQ closed it: {command.reply_code} {command.reply_text}")
        if self._transport is not None:
            # Not aborted, so that the close-ok goes out; the timer ends a peer that reads nothing.
            self._transport.close()
            self._set_timer(self._loop.call_later(CLOSE_SECONDS, self._transport.abort))

    # Calls from the users of the connection

    @property
    def buffered(self) -> int:
        """The written bytes that the socket has not taken yet."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return waiting + self._outgoing_size

    def write(self, data: bytes) -> None:
        """Send together with all other data of this pass of the event loop."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)
        self._outgoing_size += len(data)
        if self._outgoing_size >= FLUSH_AT:
            self._flush()

    async def wait_writable(self) -> None:
        """Wait until the socket takes more, the broker blocks, or the connection ends."""
        while not (self.writable or self.blocked or self.closed.done()):
            await self._changed.wait()

    def _flush(self) -> None:
        outgoing, self._outgoing, self._outgoing_size = self._outgoing, [], 0
        if outgoing and self._transport is not None and not self.closed.done():
            self._written = True
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
            if not self.writable and self.buffered > MAX_UNSENT:
                self.fail(f"RabbitMQ takes nothing, and {self.buffered:,} bytes wait to be sent")

    async def open_channel(self, *first: base.Frame) -> Channel:
        """Open a channel, and call the methods `first` on it.

        Raises BrokerUnavailable, also when all channels are in use.
        """
        if self.closed.done():
            raise BrokerUnavailable(f"the connection to RabbitMQ ended: {self.closed.result()}")
        number = self._free_numbers.pop() if self._free_numbers else next(self._numbers, 0)
        if not number:
            raise BrokerUnavailable(
                f"all {len(self._channels)} channels of the connection are in use: run fewer "
                "functions in one process"
            )
        channel = self._channels[number] = Channel(self, number)
        try:
            await channel.call(commands.Channel.Open())
            for command in first:
                await channel.call(command)
        except BaseException:
            channel.abandon()
            raise
        return channel

    def release_channel(self, channel: int) -> None:
        """Make the number of a closed channel available again."""
        if self._channels.pop(channel, None) is not None:
            self._free_numbers.append(channel)

    def fail(self, reason: str) -> None:
        """End the connection at once, because of an error or of silence."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        self._set_timer(None)
        self._wake()
        for channel in self._channels.values():
            channel.end(reason)
        self._channels.clear()

    def _wake(self) -> None:
        """Wake all waiters, which check their condition again."""
        self._changed.set()
        self._changed.clear()

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def tune(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        """Apply the negotiated limits; from now on a silent broker ends the connection."""
        self.frame_max = frame_max
        self._reader.limit = frame_max + frames.SIZE_SLACK
        self._numbers = iter(range(1, channel_max + 1))
        self._heartbeat = heartbeat
        self._set_timer(self._loop.call_later(heartbeat / 2, self._on_beat))

    def send(self, command: base.Frame) -> None:
        """Send a method on channel 0, the connection's own."""
        self.write(frames.method(0, command))

    async def receive(self, expected: type[FrameT]) -> FrameT:
        """Wait for the next method on channel 0, which must be this one.

        The caller limits the wait.
        Raises AccessDenied if the broker refuses the login, and BrokerUnavailable.
        """
        while not self._said:
            if self.closed.done():
                raise self._why_ended()
            await self._changed.wait()
        command = self._said.popleft()
        if not isinstance(command, expected):
            raise BrokerUnavailable(f"RabbitMQ said {command.name} in place of {expected.name}")
        return command

    def _why_ended(self) -> InvocationError:
        reason = self.closed.result()
        if self._reply_code in (ACCESS_REFUSED, NOT_ALLOWED):
            return connect_error(self.address, reason, self._reply_code)
        return BrokerUnavailable(f"the connection to RabbitMQ ended: {reason}")

    async def close(self) -> None:
        """Close (AMQP 0-9-1, section 2.2.4), within a short limit even if nobody answers."""
        if not self.closed.done():
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._say_goodbye()
            except (TimeoutError, InvocationError):
                pass  # It ended otherwise, so it is closed.
            finally:
                self.fail("it was closed from here")
        if self._transport is not None:
            await self._gone.wait()

    async def _say_goodbye(self) -> None:
        self.send(
            commands.Connection.Close(reply_code=200, reply_text="done", class_id=0, method_id=0)
        )
        await self.receive(commands.Connection.CloseOk)

    def _on_beat(self) -> None:
        """Handle the passing of half a heartbeat (AMQP 0-9-1, section 4.2.7)."""
        if self._loop.time() - self._heard > 2 * self._heartbeat:
            self.silent = True
            self.fail(f"nothing came from RabbitMQ for {2 * self._heartbeat} s")
            return
        if not self._written:
            self.write(frames.HEARTBEAT_FRAME)
            self._flush()  # Now, so that it does not count as traffic of the next interval.
        self._written = False
        self._set_timer(self._loop.call_later(self._heartbeat / 2, self._on_beat))
