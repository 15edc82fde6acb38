"""A mesh of hand-written announcements: a broker that can be cut off, and two processes."""

from dataclasses import replace

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.presence import AnnouncedRoute, Instance


class Line(MemoryBroker):
    """A broker that a test can take away."""

    away = False

    @property
    def ready(self):
        return super().ready and not self.away

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if self.away:
            raise BrokerUnavailable("cut off")
        await super().publish(route, message, delay=delay, give_up=give_up)

    async def depth(self, queue):
        if self.away:
            raise BrokerUnavailable("cut off")
        return await super().depth(queue)


class Process:
    """What a process of the shop announces, to be changed by a test."""

    def __init__(self, id, clock, **fields):
        limits = {"max_pending": 9, "concurrency": 2, "reserved_concurrency": None}
        self.instance = Instance(
            id,
            f"host-{id}",
            7,
            clock.now(),
            {"shop": "1.4"},
            [{"name": "shop.sell", "triggers": [], "limits": limits}],
            [AnnouncedRoute("POST", "/sales", "shop.sell", 30.0)],
            {"shop.sell": 0},
            {"paths": {"/sales": {}}},
            **fields,
        )

    def __call__(self):
        return self.instance

    def tell(self, **fields):
        self.instance = replace(self.instance, **fields)


@pytest.fixture
async def broker(clock):
    async with Line(clock) as broker:
        yield broker


@pytest.fixture
def process(clock):
    return Process("one", clock)


@pytest.fixture
def another(clock):
    return Process("two", clock)
