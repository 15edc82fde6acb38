from dataclasses import replace

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.presence import AnnouncedRoute, Instance
from eventmesh.testing.clock import ManualClock


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


class Process:
    """What a process says of itself, to be changed by a test."""

    def __init__(self, id, clock):
        self.instance = Instance(
            id,
            "host",
            7,
            clock.now(),
            {"shop": "1.4"},
            [{"name": "shop.sell", "triggers": [], "limits": {"max_pending": 9}}],
            [AnnouncedRoute("POST", "/sales", "shop.sell", 30.0)],
            {"shop.sell": 0},
            {"paths": {"/sales": {}}},
        )

    def __call__(self):
        return self.instance

    def run(self, count, waiting=0):
        self.instance = replace(
            self.instance, running={"shop.sell": count}, waiting={"shop.sell": waiting}
        )


@pytest.fixture
def clock():
    return ManualClock()


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
