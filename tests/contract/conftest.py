"""What the contract suite runs over: one `Mesh` for each broker.

To add a broker, write its Mesh and let the fixture `mesh` make it. A test gets two connections to
the same mesh, `broker` and `other`; a broker inside the process has only one, which is then both.
Where time is real, a test waits for what it expects, never for time as such: `mesh.elapse` moves a
clock that is moved by hand, and does nothing to one that runs by itself.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import pytest_asyncio

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, SystemClock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.message import Message
from eventmesh.model.topology import Queue
from eventmesh.testing.clock import ManualClock

T = TypeVar("T")

DEADLINE = 10.0
"""Real seconds in which anything that is expected has happened."""


class Collector:
    """A consumer's `deliver`: keeps what arrives, and when it did, until a test asks for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self.times: list[float] = []

    def __call__(self, delivery: Delivery) -> None:
        self.times.append(self._clock.now())
        self._arrived.put_nowait(delivery)

    async def next(self) -> Delivery:
        async with asyncio.timeout(DEADLINE):
            return await self._arrived.get()

    async def take(self, count: int) -> list[Delivery]:
        return [await self.next() for _ in range(count)]

    async def bodies(self, count: int) -> list[bytes]:
        """Acknowledge the next deliveries one by one and say what was in them."""
        bodies = []
        for _ in range(count):
            delivery = await self.next()
            delivery.ack()
            bodies.append(delivery.message.body)
        return bodies


class Mesh(ABC):
    """A broker under test, and what every test needs with it."""

    clock: Clock

    @abstractmethod
    def connect(self) -> AbstractAsyncContextManager[Broker]:
        """A new connection."""

    @abstractmethod
    async def elapse(self, seconds: float) -> None:
        """Let so much time pass, where it does not pass by itself."""

    def message(self, body: bytes = b"{}", **properties: Any) -> Message:
        """A message of now, with an id of its own."""
        return Message(body, uuid4().hex, self.clock.now(), **properties)

    def request(self, body: bytes = b"{}", *, wait: float = DEADLINE) -> Message:
        """A message whose sender waits so many seconds for the reply."""
        return self.message(body, deadline=self.clock.now() + wait)

    def collector(self) -> Collector:
        return Collector(self.clock)

    async def soon(self, awaitable: Awaitable[T]) -> T:
        """Wait for what must happen in bounded real time."""
        async with asyncio.timeout(DEADLINE):
            return await awaitable

    async def depth_reaches(self, broker: Broker, queue: Queue, depth: int) -> None:
        """Wait until so many messages wait in a queue."""
        async with asyncio.timeout(DEADLINE):
            while await broker.depth(queue) != depth:
                await self.elapse(0)


class MemoryMesh(Mesh):
    def __init__(self) -> None:
        self.clock: ManualClock = ManualClock()
        self._broker: MemoryBroker | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Broker]:
        if self._broker is not None:
            yield self._broker
            return
        async with MemoryBroker(self.clock) as self._broker:
            yield self._broker
        self._broker = None

    async def elapse(self, seconds: float) -> None:
        await self.clock.advance(seconds)


class RabbitMesh(Mesh):
    """RabbitMQ, in real time. Each test uses names that no other test knows."""

    def __init__(self, url: str) -> None:
        self.clock: Clock = SystemClock()
        self._url = url

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Broker]:
        async with RabbitBroker(self._url, connect_timeout=DEADLINE) as broker:
            yield broker

    async def elapse(self, seconds: float) -> None:
        del seconds
        await asyncio.sleep(0)


@pytest.fixture(params=["memory", "rabbitmq"])
def mesh(request):
    if request.param == "memory":
        return MemoryMesh()
    return RabbitMesh(request.getfixturevalue("rabbitmq_url"))


@pytest_asyncio.fixture(params=["memory", "rabbitmq"])
async def empty_mesh(request):
    """One in which nobody has ever declared anything."""
    if request.param == "memory":
        return MemoryMesh()
    return RabbitMesh(await request.getfixturevalue("node").new_virtual_host())


@pytest_asyncio.fixture
async def broker(mesh):
    async with mesh.connect() as connected:
        yield connected


@pytest_asyncio.fixture
async def other(mesh, broker):
    async with mesh.connect() as connected:
        yield connected


@pytest.fixture
def function():
    """The name of a function that no other test knows."""
    return f"shop.f{uuid4().hex}"
