"""What the contract suite runs over: one `Mesh` for each broker.

To add a broker, write its Mesh and let the fixture `mesh` make it. A test gets two connections to
the same mesh, `broker` and `other`; a broker inside the process has only one, which is then both.
Each test has a service of its own, and does what the code of one service does: it uses the names
that are the service's, and the events in EVENTS and PATTERNS below their names. Where time is real,
a test waits for what it expects, never for time as such: `mesh.elapse` moves a clock that is moved
by hand, and does nothing to one that runs by itself.
"""

import asyncio
import json
import os
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import pytest_asyncio
from rabbitmq_fixtures import BROKER_VARIABLE
from rabbitmq_node import Node
from waiting import DEADLINE, PAUSE

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, SystemClock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.access.definitions import build_definitions
from eventmesh.brokers.rabbitmq.access.permissions import Rights, permissions
from eventmesh.model.message import Message
from eventmesh.model.topology import Queue
from eventmesh.testing.clock import ManualClock

T = TypeVar("T")


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
        return self.message(body, deadline=self.clock.monotonic() + wait)

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
        await asyncio.sleep(PAUSE)


class Users:
    """The users of single services, in a virtual host of their own; they are removed at the end.

    They have what `eventmesh export broker` derives from the code of a service, and nothing else.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.virtual_host = f"test-{uuid4().hex}"
        self._users: list[str] = []

    def add(self, rights: Rights) -> str:
        """Import the definitions of a service; return the URL of its user."""
        granted, password = permissions(rights), uuid4().hex
        self._users.append(granted.user)
        definitions = build_definitions(
            self.virtual_host, [granted], [rights], {granted.user: password}
        )
        text = b64encode(json.dumps(definitions).encode()).decode()
        said = self._node.control(
            "eval", f'rabbit_definitions:import_raw(base64:decode("{text}")).'
        )
        assert said.strip() == "ok", said
        address = f"{self._node.host}:{self._node.port}/{self.virtual_host}"
        return f"amqp://{granted.user}:{password}@{address}?users=per-service"

    def remove(self) -> None:
        if self._users:
            names = ",".join(f'<<"{user}">>' for user in self._users)
            delete = "rabbit_auth_backend_internal:delete_user(User, <<>>)"
            self._node.control("eval", f"[{delete} || User <- [{names}]].")
            self._node.control("delete_vhost", self.virtual_host)


def rights(service: str, function: str) -> Rights:
    """What the code of the services of all tests would declare."""
    own = function.partition(".")[2]
    return Rights(
        service,
        (function, *(f"{function}_{number}" for number in range(3))),
        queues=(function, f"{function}-a", f"{function}-b", f"q{function}"),
        patterns=tuple(f"{root}.{rest}" for root in (function, own) for rest in PATTERNS),
        emits=tuple(f"{root}.{word}" for root in (function, own) for word in EVENTS),
    )


EVENTS = ("placed", "paid", "due", "changed", "here", "cancelled")
PATTERNS = ("*", "#", "#.#", "placed", "paid", "never.*")


@pytest.fixture(scope="session")
def users(request):
    made = Users(request.getfixturevalue("shared_node"))
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _unhurried(unhurried):
    pass


PER_SERVICE = "rabbitmq, per-service user"


def pytest_collection_modifyitems(config, items):
    """Leave out what a service with a user of its own cannot do, and where no user can be made.

    Users are made by rabbitmqctl, which only a node of the tests' own has.
    """
    left_out = [item for item in items if _has_own_user(item) and not _is_possible(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _has_own_user(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return PER_SERVICE in (params.get("mesh"), params.get("empty_mesh"))


def _is_possible(item):
    marked = item.get_closest_marker("shared_account") is not None
    return not marked and not os.environ.get(BROKER_VARIABLE)


@pytest.fixture(params=["memory", "rabbitmq", PER_SERVICE])
def mesh(request, service, function):
    match request.param:
        case "memory":
            return MemoryMesh()
        case "rabbitmq":
            return RabbitMesh(request.getfixturevalue("rabbitmq_url"))
    return RabbitMesh(request.getfixturevalue("users").add(rights(service, function)))


@pytest_asyncio.fixture(params=["memory", "rabbitmq", PER_SERVICE])
async def empty_mesh(request, service, function):
    """One in which nobody has ever declared anything."""
    match request.param:
        case "memory":
            yield MemoryMesh()
            return
        case "rabbitmq":
            yield RabbitMesh(await request.getfixturevalue("node").new_virtual_host())
            return
    users = Users(request.getfixturevalue("shared_node"))
    try:
        declared = Rights(
            service, (function,), patterns=("order.*",), emits=("order.placed", "stock.low")
        )
        yield RabbitMesh(await asyncio.to_thread(users.add, declared))
    finally:
        await asyncio.to_thread(users.remove)


@pytest_asyncio.fixture
async def broker(mesh):
    async with mesh.connect() as connected:
        yield connected


@pytest_asyncio.fixture
async def other(mesh, broker):
    async with mesh.connect() as connected:
        yield connected


@pytest.fixture
def service():
    """The name of a service that no other test knows."""
    return f"shop{uuid4().hex[:12]}"


@pytest.fixture
def function(service):
    """The name of a function that no other test knows."""
    return f"{service}.f{uuid4().hex[:12]}"
