"""An embedded broker by a clock that the test moves, with services or hand-written functions."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest

from eventmesh.abc import Handler
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.codecs.envelope import reply_from
from eventmesh.engine.runtimes.registry import load_runtime
from eventmesh.engine.spec import Environment
from eventmesh.host import Host, host_services
from eventmesh.model.invocation import Batch, Invocation
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.settings import Settings
from eventmesh.model.topology import Binding, inbox, named, rpc_queue
from eventmesh.service import Service
from eventmesh.testing.clock import ManualClock

START = 1_000.0


class Mesh:
    """Functions that answer at once, and queues that keep what is sent to them."""

    def __init__(self, broker: MemoryBroker, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.broker = broker
        self.clock = clock
        self._stack = stack
        self.requests: list[Message] = []

    async def answers(self, function: str, answer: Callable[[Message], Result]) -> None:
        """Have synchronous callers of `function` answered."""

        def deliver(delivery):
            self.requests.append(delivery.message)
            delivery.ack()
            result = answer(delivery.message)
            reply = reply_from(result, delivery.message, self.clock.now())
            self.broker.reply(delivery.message, reply)

        queue = rpc_queue(function, 10)
        await self.broker.declare([queue])
        await self._stack.enter_async_context(self.broker.consume(queue, deliver, prefetch=10))

    async def keeps(self, function: str = "", queue: str = "", pattern: str = "") -> None:
        """Have an inbox, or a queue, keep what comes."""
        kept = named(queue) if queue else inbox(function)
        await self.broker.declare([kept], [Binding(kept, pattern)] if pattern else [])

    async def kept(self, function: str = "", queue: str = "") -> Message | None:
        """Take the next message from an inbox or a queue."""
        delivery = await self.broker.get(named(queue) if queue else inbox(function))
        if delivery is None:
            return None
        delivery.ack()
        return delivery.message


@pytest.fixture
async def mesh():
    clock = ManualClock(START)
    async with MemoryBroker(clock) as broker, AsyncExitStack() as stack:
        yield Mesh(broker, clock, stack)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def broker(clock):
    async with MemoryBroker(clock) as broker:
        yield broker


@pytest.fixture
def start(broker, clock):
    """Runs services: one process of a mesh, without HTTP."""

    def start(
        *services: Service, grace: float = 60.0, broker: MemoryBroker = broker
    ) -> AbstractAsyncContextManager[Host]:
        return host_services(services, broker, Settings(grace=grace), clock=clock, http=None)

    return start


INVOCATION = frozenset(("mode", "http", "attempt", "batch"))


@pytest.fixture
async def run(broker, clock):
    """Runs a handler as a function of the service "app", for one invocation."""
    handlers: dict[str, Handler] = {}
    stack = AsyncExitStack()

    async def run(handler: Callable[..., Any], payload: bytes = b"", **given) -> Result:
        options = {name: given[name] for name in given.keys() - INVOCATION}
        properties = {name: given[name] for name in given.keys() & INVOCATION}
        function = Service("app").function(**options)(handler)
        name = function.full_name
        if name not in handlers:
            environment = Environment(clock, BrokerTransport(broker), {})
            opened = load_runtime(function.spec.runtime).open(function, environment)
            handlers[name] = await stack.enter_async_context(opened)
        if "batch" in properties:
            properties["batch"] = Batch(properties["batch"])
        invocation = Invocation(name, "a-1", payload, clock.now(), **properties)
        return await handlers[name](invocation)

    yield run
    await stack.aclose()


@pytest.fixture
def message(clock):
    """Makes a message that is stored now."""

    def message(body: bytes = b"null", **properties) -> Message:
        return Message(body, **({"id": "a-1", "timestamp": clock.now()} | properties))

    return message
