"""A mesh in which only timers run: what they fire stays in the inboxes, to be looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import pytest

from eventmesh.abc import Lease
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.spec import Environment, SourceContext
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.event import ATTRIBUTE_PREFIX
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.settings import Settings
from eventmesh.model.topology import Route, inbox
from eventmesh.service import Service
from eventmesh.triggers.timer.trigger import TimerTrigger

FUNCTION = "orders.tick"


@pytest.fixture
def running(broker, clock) -> Callable[..., AbstractAsyncContextManager[None]]:
    """One replica of a service whose function `tick` has these triggers."""
    return lambda *triggers, **others: open_replica(
        *triggers, broker=others.get("broker", broker), clock=others.get("clock", clock)
    )


@pytest.fixture(scope="session")
def replica() -> Callable[..., AbstractAsyncContextManager[None]]:
    """Like `running`, with a broker and a clock of the test's own."""
    return open_replica


@pytest.fixture(scope="session")
def connect() -> Callable[[MemoryBroker], Connection]:
    """One process's connection to a broker that others share."""
    return Connection


@pytest.fixture
def context(broker, clock) -> SourceContext:
    return build_context(broker, clock)


@pytest.fixture
def fired(broker) -> Callable[[], Awaitable[list[Message]]]:
    """What was fired since the last call."""

    async def take() -> list[Message]:
        messages: list[Message] = []
        while delivery := await broker.get(inbox(FUNCTION)):
            delivery.ack()
            messages.append(delivery.message)
        return messages

    return take


@pytest.fixture
def scheduled(fired) -> Callable[[], Awaitable[list[str]]]:
    """The moments of what was fired since the last call."""

    async def take() -> list[str]:
        return [moment(message) for message in await fired()]

    return take


class Connection:
    """A connection to a shared broker that may fail where the others' do not.

    `refusals` are raised to whoever publishes, by what triggered the message. While `open` is not
    set, publishing waits; `publishing` tells that somebody does, and `most_publishing` how many
    did at once.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.refusals: dict[str, Exception] = {}
        self.refused = 0
        self.lease_lost = False
        self.asked_for_lease = 0
        self.saved = 0
        self.most_publishing = 0
        self._publishing = 0
        self.publishing = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def publish(
        self, route: Route, message: Message, *, delay: float = 0.0, give_up: bool = True
    ) -> None:
        self.publishing.set()
        self._publishing += 1
        self.most_publishing = max(self.most_publishing, self._publishing)
        await self.open.wait()
        self._publishing -= 1
        if message.trigger in self.refusals:
            self.refused += 1
            raise self.refusals[message.trigger]
        await self._broker.publish(route, message, delay=delay)

    async def declare(self, queues, bindings=()) -> None:
        await self._broker.declare(queues, bindings)

    def consume(self, *args, **options):
        return self._broker.consume(*args, **options)

    def reply(self, request: Message, reply: Message) -> None:
        self._broker.reply(request, reply)

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[Lease]:
        self.asked_for_lease += 1
        if self.lease_lost:
            raise BrokerUnavailable("the connection is cut")
        async with self._broker.lease(name) as held:
            yield ConnectedLease(self, held)


class ConnectedLease:
    def __init__(self, connection: Connection, held: Lease) -> None:
        self._connection = connection
        self._held = held

    @property
    def state(self) -> bytes:
        return self._held.state

    async def save(self, state: bytes) -> None:
        if self._connection.lease_lost:
            raise BrokerUnavailable("the lease is lost")
        await self._held.save(state)
        self._connection.saved += 1


def moment(message: Message) -> str:
    """The moment a firing was scheduled for, without its offset, which is UTC's."""
    time = datetime.fromisoformat(message.headers[f"{ATTRIBUTE_PREFIX}time"])
    return time.replace(tzinfo=None).isoformat(" ")


@asynccontextmanager
async def open_replica(*triggers: TimerTrigger, broker, clock) -> AsyncGenerator[None]:
    orders = Service("orders")

    @orders.function(*triggers)
    async def tick() -> None: ...

    await broker.declare([inbox(FUNCTION)])
    async with TimerTrigger.source(
        [(tick.spec, trigger) for trigger in triggers], build_context(broker, clock)
    ):
        yield


def build_context(broker, clock) -> SourceContext:
    async def dispatch(_) -> Result:
        return Result(b"")

    return SourceContext(
        broker=broker,
        environment=Environment(clock, BrokerTransport(broker), {}),
        settings=Settings(),
        functions={},
        dispatch=dispatch,
        gauge=lambda *_: None,
        announce=lambda *_: None,
        on_stop=lambda *_: None,
        instance="instance",
    )
