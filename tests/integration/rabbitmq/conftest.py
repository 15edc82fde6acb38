"""The parts of the RabbitMQ broker that are not its data path, on a real RabbitMQ."""

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import pytest_asyncio
from pamqp import commands
from waiting import DEADLINE

from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.model.errors import BrokerUnavailable


@pytest.fixture(autouse=True)
def _unhurried(unhurried):
    pass


class Client:
    """A Control, and what a test does beside it with the same connections."""

    def __init__(self, management):
        self.management = management

    async def publish(self, key, body=b"", *, exchange="", headers=None):
        """Store a message; raises if it reaches no queue."""
        properties = commands.Basic.Properties(
            message_id=uuid4().hex, delivery_mode=2, headers=headers
        )
        async with self.management.publish_connection.channel(confirms=True) as channel:
            await channel.basic_publish(
                body, exchange=exchange, routing_key=key, properties=properties, mandatory=True
            )

    async def send(self, route, body=b""):
        await self.publish(route.key, body, exchange=route.exchange)

    async def depth_reaches(self, queue, depth):
        async with asyncio.timeout(DEADLINE):
            while await self._depth(queue) != depth:
                pass

    async def _depth(self, queue):
        try:
            return await self.management.depth(queue)
        except BrokerUnavailable:
            return None  # It may not answer for its queues as soon as it takes connections.

    async def take(self, queue):
        """The next message of a queue, once there is one; it is acknowledged."""
        async with asyncio.timeout(DEADLINE):
            while (delivery := await self.management.get(queue)) is None:
                pass
        delivery.ack()
        return delivery.message.body


@asynccontextmanager
async def client_of(url, name="test"):
    async with Management(parse_address(url), name) as management:
        yield Client(management)


@pytest.fixture
def connecting():
    """A client of the broker at a URL, while entered: `async with connecting(url) as client`."""
    return client_of


@pytest_asyncio.fixture
async def client(rabbitmq_url):
    async with client_of(rabbitmq_url) as connected:
        yield connected


@pytest.fixture
def function():
    """The name of a function that no other test knows."""
    return f"shop.f{uuid4().hex}"
