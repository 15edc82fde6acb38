"""The data path on a real RabbitMQ, on both event loops."""

import asyncio
import time
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import uvloop
from pamqp import commands

from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.model.message import Message


def pytest_asyncio_loop_factories(item):
    """Both, except where a node is stopped and killed, which takes its time."""
    loops = {"uvloop": uvloop.new_event_loop}
    if "rabbitmq" not in item.fixturenames:
        loops["asyncio"] = asyncio.SelectorEventLoop
    return loops


@asynccontextmanager
async def connected_to(url, name="wire"):
    connection = await connect(parse_address(url), name)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def connecting():
    """A connection to a URL, while entered."""
    return connected_to


@pytest.fixture
async def connection(rabbitmq_url):
    async with connected_to(rabbitmq_url) as connection:
        yield connection


@pytest.fixture
async def channel(connection):
    """One that is in confirm mode."""
    return await connection.open_channel(commands.Confirm.Select())


@pytest.fixture
async def queue(connection):
    """Declares queues of the test's own, and deletes them."""
    channel = await connection.open_channel()
    names = []

    async def queue(**arguments):
        name = f"wire.{uuid4().hex}"
        arguments = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        durable = {"x-queue-type": "classic"} | arguments
        await channel.call(commands.Queue.Declare(queue=name, durable=True, arguments=durable))
        names.append(name)
        return name

    yield queue
    if channel.is_open:
        for name in names:
            await channel.call(commands.Queue.Delete(queue=name))


class Consumed:
    """What a consumer of a channel gets, one after the other."""

    def __init__(self, channel, soon):
        self.channel = channel
        self._came = asyncio.Queue()
        self._soon = soon

    def take(self, tag, properties, body, *, redelivered):
        self._came.put_nowait((tag, properties, body, redelivered))

    async def next(self):
        """Tag, properties, body, and whether it was delivered before."""
        return await self._soon(self._came.get())


@pytest.fixture
def consuming(connection, soon):
    """Consume a queue on a channel of its own."""

    async def consuming(queue, prefetch=10):
        consumed = Consumed(await connection.open_channel(), soon)
        await consumed.channel.consume(queue, prefetch, consumed.take)
        return consumed

    return consuming


def sent(channel, key, body=b"{}", *, exchange="", **properties):
    """Publish a mandatory message; the future of its confirm."""
    message = Message(body, **({"id": uuid4().hex, "timestamp": time.time()} | properties))
    target = publish_target(exchange, key, mandatory=True)
    encoded = encode_properties(message, durable=False)
    return channel.publish(target, encoded, body, message.id)


@pytest.fixture
def send():
    return sent
