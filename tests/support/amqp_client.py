"""A connection to nowhere: a test writes what the broker would, and reads what goes out."""

import asyncio
from contextlib import asynccontextmanager

from pamqp import commands, frame

from eventmesh.brokers.rabbitmq.address import Address, Host
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.model.message import Message

FRAME_MAX = 4096
TARGET = publish_target("", "gone", mandatory=True)


class Socket:
    """A transport that takes everything, or, where it `holds_back`, keeps it."""

    def __init__(self):
        self.writes = []
        self.aborted = False
        self.closed = False
        self.holds_back = False

    @property
    def written(self):
        return b"".join(self.writes)

    def write(self, data):
        self.writes.append(data)

    def abort(self):
        self.aborted = True

    def close(self):
        self.closed = True

    def get_write_buffer_size(self):
        return len(self.written) if self.holds_back else 0


class Client:
    """A connection with one channel that consumes and publishes, and no socket."""

    def __init__(self, frame_max=FRAME_MAX):
        self.socket = Socket()
        self.connection = AmqpConnection(Address((Host("nowhere", 0),), "/", "", ""))
        self.connection.connection_made(self.socket)
        self.connection.tune(10, frame_max, 60)
        self.taken = []

    async def open(self):
        opening = self.connection.open_channel(commands.Confirm.Select())
        answers = [commands.Channel.OpenOk(), commands.Confirm.SelectOk()]
        self.channel = await self.answered(opening, *answers)
        consuming = self.channel.consume("q", 5, self.take)
        answers = [commands.Basic.QosOk(), commands.Basic.ConsumeOk("c1.0")]
        assert await self.answered(consuming, *answers) == "c1.0"

    async def answered(self, call, *answers):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(call)
            for answer in answers:
                await asyncio.sleep(0)
                self.feed(frame.marshal(answer, 1))
        return task.result()

    def publish(self, id, body=b"{}"):
        """Publish to a queue that is not there."""
        properties = encode_properties(Message(b"", id, 1.0), durable=True)
        return self.channel.publish(TARGET, properties, body, id)

    def take(self, tag, properties, body, *, redelivered):
        self.taken.append((tag, properties, body, redelivered))

    def feed(self, data):
        self.connection.data_received(data)

    @property
    def end(self):
        return self.connection.closed.result() if self.connection.closed.done() else None


@asynccontextmanager
async def opened_client(**options):
    client = Client(**options)
    await client.open()
    try:
        yield client
    finally:
        client.connection.connection_lost(None)
