"""One connection: the handshake, frames in and out, heartbeats, and its end."""

from __future__ import annotations

import asyncio
import platform
import ssl
from typing import Final, TypeVar, cast

from pamqp import base, commands, exceptions, frame
from pamqp.common import FieldValue

from eventmesh.brokers.rabbitmq.wire import frames
from eventmesh.brokers.rabbitmq.wire.channel import Channel
from eventmesh.errors import AccessDenied, BrokerUnavailable, InvocationError
from eventmesh.value import value

HEARTBEAT: Final = 20
"""Seconds. A connection is given up when nothing came for this long, twice over."""

CONNECT_SECONDS: Final = 10.0
FRAME_MAX: Final = 131_072
CHANNEL_MAX: Final = 2047
MAX_BODY: Final = 16 * 1024 * 1024
"""RabbitMQ 4's own limit of a message (https://www.rabbitmq.com/docs/limits)."""

FrameT = TypeVar("FrameT", bound=base.Frame)

_ACCESS_REFUSED: Final = 403


@value
class Address:
    """Where the broker is and who we are; never shown with the password."""

    host: str
    port: int
    virtual_host: str
    user: str
    password: str
    tls: ssl.SSLContext | None = None
    external: bool = False
    """Authenticate by the client's certificate (SASL EXTERNAL)."""

    def __repr__(self) -> str:
        scheme = "amqp" if self.tls is None else "amqps"
        return f"{scheme}://{self.host}:{self.port}/{self.virtual_host}"


class Connection(asyncio.Protocol):
    """An open connection, until `closed` is done: with why it ended.

    What is written during one pass of the event loop goes out in one write. `blocked` is why
    the broker takes no messages now (connection.blocked), or "".
    """

    def __init__(self, name: str) -> None:
        self.frame_max = FRAME_MAX
        self.max_body = MAX_BODY
        self.blocked = ""
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._channels: dict[int, Channel] = {}
        self._free_numbers: list[int] = []
        self._numbers = iter(range(1, CHANNEL_MAX + 1))
        self._handshake: asyncio.Queue[base.Frame] = asyncio.Queue(4)
        self._partial = b""
        self._outgoing: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._heartbeat = HEARTBEAT
        self._beat: asyncio.TimerHandle | None = None
        self._heard = self._loop.time()
        self._written = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(frames.PROTOCOL_HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was lost ({exc})" if exc else "the connection was lost")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._partial:
            data = self._partial + data
        try:
            consumed = self._read(data)
        except (ValueError, IndexError, exceptions.PAMQPException) as error:
            # Whatever stands in a frame that cannot be read, nothing after it can be trusted.
            self.fail(f"a frame cannot be read: {error}")
            return
        self._partial = data[consumed:]

    def _read(self, data: bytes) -> int:
        """Handle the whole frames in `data`, and return how many bytes they are."""
        unpack, preamble = frames.PREAMBLE.unpack_from, frames.PREAMBLE.size
        place, size = 0, len(data)
        while size - place >= frames.OVERHEAD and not self.closed.done():
            kind, channel, length = unpack(data, place)
            if length > self.frame_max - frames.OVERHEAD:
                raise ValueError(f"it has {length:,} bytes, {self.frame_max:,} were agreed on")
            start = place + preamble
            end = start + length
            if end >= size:
                break
            if data[end] != frames.END:
                raise ValueError("it does not end with a frame-end octet")
            self._on_frame(kind, channel, data, start, end)
            place = end + 1
        return place

    def _on_frame(self, kind: int, number: int, data: bytes, start: int, end: int) -> None:
        channel = self._channels.get(number)
        if kind == frames.METHOD:
            self._on_method(channel, number, data, start, end)
        elif kind == frames.HEARTBEAT:
            return
        elif channel is None:
            raise ValueError(f"it is of type {kind} on channel {number}, which is not open")
        elif kind == frames.HEADER:
            channel.on_header(data[start:end])
        elif kind == frames.BODY:
            channel.on_body(data[start:end])
        else:
            raise ValueError(f"its type {kind} is unknown")

    def _on_method(
        self, channel: Channel | None, number: int, data: bytes, start: int, end: int
    ) -> None:
        what = data[start : start + 4]
        if channel is not None:
            if what == frames.DELIVER:
                channel.on_deliver(data[start:end])
                return
            if what == frames.ACK:
                channel.on_confirm(data[start:end], taken=True)
                return
            if what == frames.NACK:
                channel.on_confirm(data[start:end], taken=False)
                return
            if what == frames.RETURN:
                channel.on_return(data[start:end])
                return
        _, _, command = frame.unmarshal(data[start - frames.PREAMBLE.size : end + 1])
        if not isinstance(command, base.Frame):
            raise ValueError("it is no method")  # noqa: TRY004 bytes are wrong, not a type
        if number == 0:
            self._on_command(command)
        elif channel is not None:
            channel.on_method(command)

    def _on_command(self, command: base.Frame) -> None:
        match command:
            case commands.Connection.Blocked():
                self.blocked = command.reason or "an alarm"
            case commands.Connection.Unblocked():
                self.blocked = ""
            case commands.Connection.Close():
                self.write(frames.method(0, commands.Connection.CloseOk()))
                self._flush()
                self._close(f"RabbitMQ closed it: {command.reply_code} {command.reply_text}")
            case _ if self._handshake.full():
                raise ValueError(f"{command.name} answers nothing that was asked")
            case _:
                self._handshake.put_nowait(command)

    # Our side

    def write(self, data: bytes) -> None:
        """Send with all else that is written in this pass of the event loop."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)

    async def wait_writable(self) -> None:
        """Wait until the socket takes more; a slow broker thus slows its publishers down."""
        await self._writable.wait()

    @property
    def writable(self) -> bool:
        """Whether the socket takes more now."""
        return self._writable.is_set()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and self._transport is not None and not self.closed.done():
            self._written = True
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))

    async def open_channel(self) -> Channel:
        """A new channel. Raises BrokerUnavailable, also when all channels are in use."""
        if self.closed.done():
            raise BrokerUnavailable(f"the connection to RabbitMQ is closed: {self.closed.result()}")
        number = self._free_numbers.pop() if self._free_numbers else next(self._numbers, 0)
        if not number:
            raise BrokerUnavailable(
                f"all {CHANNEL_MAX} channels of the connection are in use: run fewer functions in "
                "one process"
            )
        channel = self._channels[number] = Channel(self, number)
        await channel.call(commands.Channel.Open())
        return channel

    def forget(self, channel: int) -> None:
        """A channel was closed: its number may be used again."""
        if self._channels.pop(channel, None) is not None:
            self._free_numbers.append(channel)

    def fail(self, reason: str) -> None:
        """Give the connection up, because of a fault in what came over it or did not."""
        self._close(reason)

    def _close(self, reason: str) -> None:
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        if not self._handshake.full():
            self._handshake.put_nowait(_Ended())
        if self._beat is not None:
            self._beat.cancel()
        self._writable.set()
        error = BrokerUnavailable(f"the connection to RabbitMQ ended: {reason}")
        for channel in self._channels.values():
            channel.end(error)
        self._channels.clear()

    async def handshake(self, address: Address) -> None:
        """Log in and open the virtual host (AMQP 0-9-1, section 2.2.4)."""
        start = await self._next(commands.Connection.Start)
        mechanism = "EXTERNAL" if address.external else "PLAIN"
        if mechanism not in str(start.mechanisms).split():
            raise AccessDenied(f"{address!r} does not offer {mechanism} authentication")
        response = "" if address.external else f"\0{address.user}\0{address.password}"
        self._call(
            commands.Connection.StartOk(
                client_properties=_client_properties(self._name),
                mechanism=mechanism,
                response=response,
                locale="en_US",
            )
        )
        tune = await self._next(commands.Connection.Tune)
        self.frame_max = min(tune.frame_max or FRAME_MAX, FRAME_MAX)
        self._heartbeat = min(tune.heartbeat or HEARTBEAT, HEARTBEAT)
        channels = min(tune.channel_max or CHANNEL_MAX, CHANNEL_MAX)
        self._numbers = iter(range(1, channels + 1))
        self._call(
            commands.Connection.TuneOk(
                channel_max=channels, frame_max=self.frame_max, heartbeat=self._heartbeat
            )
        )
        self._call(commands.Connection.Open(virtual_host=address.virtual_host))
        await self._next(commands.Connection.OpenOk)
        self._beat = self._loop.call_later(self._heartbeat / 2, self._on_beat)

    def _call(self, command: base.Frame) -> None:
        self.write(frames.method(0, command))

    async def _next(self, expected: type[FrameT]) -> FrameT:
        """The broker's next word in the handshake, which must be this one."""
        command = await self._handshake.get()
        if isinstance(command, expected):
            return command
        if isinstance(command, _Ended):
            raise _refusal(self.closed.result())
        raise BrokerUnavailable(f"RabbitMQ said {command.name} in place of {expected.name}")

    async def close(self) -> None:
        """Say good-bye and close (AMQP 0-9-1, section 2.2.4); at once if the broker is silent."""
        if self.closed.done():
            return
        self._call(
            commands.Connection.Close(reply_code=200, reply_text="done", class_id=0, method_id=0)
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._next(commands.Connection.CloseOk)
        except (TimeoutError, InvocationError):
            pass  # It ended another way; closed it is in any case.
        self._close("it was closed from here")

    def _on_beat(self) -> None:
        """Half a heartbeat has passed (AMQP 0-9-1, section 4.2.7)."""
        if self._loop.time() - self._heard > 2 * self._heartbeat:
            self.fail(f"nothing came from RabbitMQ for {2 * self._heartbeat} s")
            return
        if not self._written:
            self.write(frames.HEARTBEAT_FRAME)
        self._written = False
        self._beat = self._loop.call_later(self._heartbeat / 2, self._on_beat)


class _Ended(base.Frame):
    """Stands in the handshake's queue for the end of the connection."""

    name = "the end"


async def connect(address: Address, name: str) -> Connection:
    """Open a connection; `name` is what RabbitMQ's tools show.

    Raises AccessDenied when the credentials or the virtual host are refused, and
    BrokerUnavailable for everything else, also when it takes longer than `CONNECT_SECONDS`.
    """
    connection = Connection(name)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().create_connection(
                lambda: connection, address.host, address.port, ssl=address.tls
            )
            await connection.handshake(address)
    except TimeoutError:
        connection.fail("the handshake took too long")
        raise BrokerUnavailable(
            f"{address!r} did not answer within {CONNECT_SECONDS:g} s"
        ) from None
    except OSError as error:
        raise BrokerUnavailable(f"{address!r} cannot be reached: {error}") from error
    except BaseException:
        connection.fail("the handshake failed")
        raise
    return connection


def _refusal(reason: str) -> InvocationError:
    if str(_ACCESS_REFUSED) in reason or "530" in reason:
        return AccessDenied(f"RabbitMQ refuses the user, password or virtual host: {reason}")
    return BrokerUnavailable(f"RabbitMQ ended the handshake: {reason}")


def _client_properties(name: str) -> dict[str, FieldValue]:
    return {
        "connection_name": name,
        "product": "eventmesh",
        "platform": f"Python {platform.python_version()}",
        "capabilities": {
            "authentication_failure_close": True,
            "basic.nack": True,
            "connection.blocked": True,
            "consumer_cancel_notify": True,
            "publisher_confirms": True,
        },
    }
