"""A server that speaks AMQP as a test tells it to, over real sockets.

It writes and reads frames with pamqp alone, so that it shares no code with what is tested. It
answers the calls of a client by itself, unless a test takes an answer out of `answers` or puts
another in; all methods and contents that come are also kept, for the test to look at.
"""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pamqp import base, body, commands, frame, header, heartbeat

from eventmesh.brokers.rabbitmq.address import Address, Host

DEADLINE = 60.0
"""Seconds in which anything that is expected has happened."""

GREETING = b"AMQP\x00\x00\x09\x01"
FRAME_MAX = 131_072

ANSWERS: dict[type[base.Frame], Callable[[base.Frame], base.Frame]] = {
    commands.Channel.Open: lambda _: commands.Channel.OpenOk(),
    commands.Channel.Close: lambda _: commands.Channel.CloseOk(),
    commands.Confirm.Select: lambda _: commands.Confirm.SelectOk(),
    commands.Basic.Qos: lambda _: commands.Basic.QosOk(),
    commands.Basic.Consume: lambda call: commands.Basic.ConsumeOk(call.consumer_tag),
    commands.Basic.Cancel: lambda call: commands.Basic.CancelOk(call.consumer_tag),
    commands.Exchange.Declare: lambda _: commands.Exchange.DeclareOk(),
    commands.Queue.Declare: lambda call: commands.Queue.DeclareOk(call.queue, 0, 0),
    commands.Connection.Close: lambda _: commands.Connection.CloseOk(),
}


@dataclass
class Published:
    """A message that a client has published."""

    channel: int
    method: commands.Basic.Publish
    properties: commands.Basic.Properties
    body: bytes = b""
    missing: int = 0


class Session:
    """One client's connection, on the server's side."""

    def __init__(self, reader, writer, handshake, answers):
        self.answers = dict(answers)
        self.log = []
        self.heartbeats = 0
        self.ended = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._handshake = handshake
        self._received = asyncio.Queue()
        self._content = None

    # What the client does

    async def run(self):
        """Serve the client until it goes away."""
        try:
            if await self._reader.readexactly(len(GREETING)) != GREETING:
                self.write(GREETING)  # As the specification has it, section 4.2.2.
                return
            await self._handshake(self)
            while True:
                self.take(*await self.read_frame())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # It is gone.
        finally:
            self.ended.set()
            self._writer.close()

    async def read_frame(self):
        """The channel and the value of the client's next frame."""
        start = await self._reader.readexactly(7)
        size = int.from_bytes(start[3:], "big")
        _, channel, value = frame.unmarshal(start + await self._reader.readexactly(size + 1))
        return channel, value

    def take(self, channel, value):
        if isinstance(value, heartbeat.Heartbeat):
            self.heartbeats += 1
        elif isinstance(value, commands.Basic.Publish):
            self._content = Published(channel, value, commands.Basic.Properties())
        elif isinstance(value, header.ContentHeader):
            self._content.properties = value.properties
            self._content.missing = value.body_size
            self._finish()
        elif isinstance(value, body.ContentBody):
            self._content.body += value.value
            self._content.missing -= len(value.value)
            self._finish()
        else:
            self.log.append((channel, value))
            answer = self.answers.get(type(value))
            if answer is not None:
                self.send(channel, answer(value))
            self._received.put_nowait((channel, value))

    def _finish(self):
        if not self._content.missing:
            self._received.put_nowait((self._content.channel, self._content))

    async def next(self, kind, *, channel=False):
        """The next thing of this kind that the client sends; what is before it is passed over."""
        async with asyncio.timeout(DEADLINE):
            while True:
                number, value = await self._received.get()
                if isinstance(value, kind):
                    return (number, value) if channel else value

    @property
    def methods(self):
        """All methods that have come."""
        return [method for _, method in self.log]

    def count(self, kind):
        """How many methods of this kind have come."""
        return sum(isinstance(method, kind) for method in self.methods)

    # What the server does

    def write(self, data):
        self._writer.write(data)

    def send(self, channel, *values):
        self.write(b"".join(frame.marshal(value, channel) for value in values))

    def confirm(self, channel, tag, *, multiple=False):
        self.send(channel, commands.Basic.Ack(tag, multiple))

    def close_channel(self, channel, code=404, text="NOT_FOUND - it is not there"):
        self.send(channel, commands.Channel.Close(code, text, 60, 40))

    def close_connection(self, code=320, text="CONNECTION_FORCED - by the operator"):
        self.send(0, commands.Connection.Close(code, text, 0, 0))

    def cut(self):
        """End the connection without a word."""
        self._writer.transport.abort()

    def hang_up(self):
        """End the connection behind what was sent."""
        self._writer.close()

    async def wait_gone(self):
        """Wait until the client has ended the connection, whatever it sent before."""
        async with asyncio.timeout(DEADLINE):
            while await self._reader.read(65_536):
                pass

    @property
    def peer_names(self):
        """The names in the client's certificate."""
        certificate = self._writer.get_extra_info("peercert")
        return [name for _, name in certificate.get("subjectAltName", ())]

    def deliver(self, channel, consumer, tag, payload=b"{}", *, redelivered=False, **properties):
        self.write(delivery(channel, consumer, tag, payload, redelivered=redelivered, **properties))

    def return_message(self, channel, published):
        """Return a mandatory message that has nowhere to go."""
        method = published.method
        self.write(
            content(
                channel,
                commands.Basic.Return(312, "NO_ROUTE", method.exchange, method.routing_key),
                published.body,
                published.properties,
            )
        )


def delivery(channel, consumer, tag, payload=b"{}", *, redelivered=False, **properties):
    """The frames of a delivery."""
    method = commands.Basic.Deliver(consumer, tag, redelivered, "", "inbox")
    return content(channel, method, payload, commands.Basic.Properties(**properties))


def content(channel, method, payload, properties, frame_max=FRAME_MAX):
    """The frames of a method with a content."""
    piece = frame_max - 8
    pieces = [payload[start : start + piece] for start in range(0, len(payload), piece)]
    values = (
        method,
        header.ContentHeader(body_size=len(payload), properties=properties),
        *map(body.ContentBody, pieces),
    )
    return b"".join(frame.marshal(value, channel) for value in values)


def handshake(*, mechanisms="PLAIN EXTERNAL", channel_max=2047, frame_max=FRAME_MAX, beat=60):
    """The server's part of a login that succeeds, and how it is tuned."""

    async def shake(session):
        properties = {"product": "RabbitMQ", "capabilities": {"basic.nack": True}}
        session.send(0, commands.Connection.Start(0, 9, properties, mechanisms, "en_US"))
        await say(session, commands.Connection.StartOk)
        session.send(0, commands.Connection.Tune(channel_max, frame_max, beat))
        await say(session, commands.Connection.TuneOk)
        await say(session, commands.Connection.Open)
        session.send(0, commands.Connection.OpenOk())

    return shake


async def say(session, expected):
    """Wait for what the client has to say next."""
    _, value = await session.read_frame()
    assert isinstance(value, expected), value
    session.take(0, value)


class FakeRabbit:
    """The server: `address` is where it is, and `session()` the next client that comes.

    `answers` are those that each client begins with.
    """

    def __init__(self, port, handshake):
        self.port = port
        self.handshake = handshake
        self.answers = dict(ANSWERS)
        self.sessions = []
        self.faults = []
        self.server = None
        self._came = asyncio.Queue()

    @property
    def address(self):
        return Address((Host("127.0.0.1", self.port),), "/", "guest", "guest")

    async def serve(self, reader, writer):
        session = Session(reader, writer, self.handshake, self.answers)
        self.sessions.append(session)
        self._came.put_nowait(session)
        try:
            await session.run()
        except Exception as error:  # noqa: BLE001 the test raises it, at its end
            self.faults.append(error)

    def close(self):
        """Take no more clients."""
        self.server.close()

    async def session(self):
        async with asyncio.timeout(DEADLINE):
            return await self._came.get()


@asynccontextmanager
async def fake_rabbit(shake=None, *, port=0, ssl=None):
    """Run a server while entered."""
    rabbit = FakeRabbit(port, shake or handshake())
    server = await asyncio.start_server(rabbit.serve, "127.0.0.1", port, ssl=ssl)
    rabbit.server = server
    rabbit.port = server.sockets[0].getsockname()[1]
    try:
        yield rabbit
    finally:
        server.close()
        for session in rabbit.sessions:
            session.cut()
        async with asyncio.timeout(DEADLINE):
            for session in rabbit.sessions:
                await session.ended.wait()
        if rabbit.faults:
            raise rabbit.faults[0]
