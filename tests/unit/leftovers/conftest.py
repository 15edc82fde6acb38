from contextlib import asynccontextmanager

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.leftovers import keep_records
from eventmesh.model.broker import QueueInfo
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import Binding, inbox, to_subscribers
from eventmesh.presence import AnnouncedSources, Instance, announce
from eventmesh.testing.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


class Broker(MemoryBroker):
    """The embedded broker, which tells what leases there are."""

    def __init__(self, clock):
        super().__init__(clock)
        self.leased = set()

    def lease(self, name):
        self.leased.add(name)
        return super().lease(name)

    async def delete(self, queue):
        self.leased.discard(queue.name)
        return await super().delete(queue)


@pytest.fixture
async def broker(clock):
    async with Broker(clock) as broker:
        yield broker


class Shop:
    """A mesh in which processes of the service `shop` start and stop."""

    def __init__(self, broker, clock):
        self.broker = broker
        self.clock = clock

    @asynccontextmanager
    async def process(self, *, service="shop", silent=False, says=True, **patterns):
        """A process whose functions subscribe to these patterns; `silent` if it is not heard."""
        sources = {f"{service}.{name}": AnnouncedSources(each) for name, each in patterns.items()}
        instance = Instance(
            new_id(), "host", 7, self.clock.now(), {service: ""}, sources=sources if says else None
        )
        bindings = [
            Binding(inbox(name), each) for name, one in sources.items() for each in one.patterns
        ]
        await self.broker.declare([inbox(name) for name in sources], bindings)
        if silent:
            yield
            return
        async with announce(self.broker, self.clock, lambda: instance):
            if not says:
                yield
                return
            async with keep_records(self.broker, self.clock, instance):
                await self.clock.settle()
                yield

    async def get(self, type):
        """Emit an event, and return which functions of the service got it."""
        now = self.clock.now()
        await self.broker.publish(to_subscribers(type), Message(b"1", new_id(), now))
        got = set()
        for name in await self.broker.list_queues():
            if not name.startswith("em.inbox."):
                continue
            queue = inbox(name.removeprefix("em.inbox."))
            while (delivery := await self.broker.get(queue)) is not None:
                delivery.ack()
                got.add(name.rpartition(".")[2])
        return got


class Inspector:
    """Inspects the embedded broker, in which leases are no queues."""

    def __init__(self, broker):
        self._broker = broker

    async def describe(self, queue):
        if queue.name in self._broker.leased:
            return QueueInfo(0, 0, None)
        found = self._broker.statistics().get(queue.name)
        return found and QueueInfo(found.ready, found.consumers, None)


@pytest.fixture
def inspector(broker):
    return Inspector(broker)


@pytest.fixture
def shop(broker, clock):
    return Shop(broker, clock)
