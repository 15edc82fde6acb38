"""A mesh of hand-written functions, for tests of what calls them."""

from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.codecs.wire import reply_from
from eventmesh.message import Message
from eventmesh.result import Result
from eventmesh.testing.clock import ManualClock
from eventmesh.topology import Binding, inbox, line, named

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

        queue = line(function, 10)
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
