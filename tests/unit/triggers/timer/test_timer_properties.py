"""Whatever replicas do, and whenever: no moment is lost, none fires under two ids."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from functools import partial
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.event import ATTRIBUTE_PREFIX
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox
from eventmesh.testing.clock import START, ManualClock
from eventmesh.triggers import on
from eventmesh.triggers.timer.schedules import SECOND, to_microseconds
from eventmesh.triggers.timer.trigger import TimerTrigger

REPLICAS = 2
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, REPLICAS - 1)),
        st.tuples(st.just("stop"), st.integers(0, REPLICAS - 1)),
        st.tuples(st.just("lose the lease"), st.integers(0, REPLICAS - 1)),
        st.tuples(st.just("lose the broker"), st.integers(0, REPLICAS - 1)),
        st.tuples(st.just("recover"), st.integers(0, REPLICAS - 1)),
        st.tuples(st.just("pass"), st.sampled_from([1, 59, 61, 599, 600, 3000, 20_000])),
    ),
    max_size=30,
)
SCHEDULES = st.sampled_from(
    [
        lambda policy: on.every("10m", catch_up=policy),
        lambda policy: on.every("7m", start="2026-01-01T00:20:00Z", catch_up=policy),
        lambda policy: on.cron("*/13 0-3 * * *", tz="Europe/Berlin", catch_up=policy),
    ]
)


class World:
    """Some replicas of a service, on one broker and one clock."""

    def __init__(self, start: Callable[..., AbstractAsyncContextManager], clock, connections):
        self._start = start
        self._clock = clock
        self._connections = connections
        self._running: dict[int, AsyncExitStack] = {}

    async def do(self, step: tuple[str, int]) -> None:
        match step:
            case ("start", number) if number not in self._running:
                stack = self._running[number] = AsyncExitStack()
                await stack.enter_async_context(self._start(broker=self._connections[number]))
                await self._clock.settle()
            case ("stop", number) if number in self._running:
                await self._running.pop(number).aclose()
            case ("lose the lease", number):
                self._connections[number].lease_lost = True
            case ("lose the broker", number):
                gone = BrokerUnavailable("the connection is cut")
                self._connections[number].refusals = {"every": gone, "cron": gone}
            case ("recover", number):
                self._connections[number].lease_lost = False
                self._connections[number].refusals = {}
            case ("pass", seconds):
                await self._clock.advance(seconds)

    async def recover(self) -> None:
        """All connections are well again, one replica at least runs, and back-offs are over."""
        for number in range(REPLICAS):
            await self.do(("recover", number))
        await self.do(("start", 0))
        await self.do(("pass", 31))

    async def stop(self) -> None:
        for number in list(self._running):
            await self.do(("stop", number))


@pytest.mark.parametrize("policy", ["all", "once", "skip"])
@given(SCHEDULES, STEPS)
def test_each_moment_fires_as_its_policy_says(connect, replica, policy, schedule, steps):
    asyncio.run(_check(connect, replica, schedule(policy), steps))


async def _check(connect, replica, trigger: TimerTrigger, steps: list[tuple[str, int]]) -> None:
    clock = ManualClock()
    async with MemoryBroker(clock) as broker:
        connections = [connect(broker) for _ in range(REPLICAS)]
        world = World(partial(replica, trigger, clock=clock), clock, connections)
        await world.do(("start", 0))  # From then on the timer is known.
        for step in steps:
            await world.do(step)
        await world.recover()
        firings = [(moment(message), message.id) for message in await _messages(broker)]
        now = round(clock.now() * SECOND)
        await world.stop()
    began = round(START * SECOND)
    scheduled = list(takewhile(lambda moment: moment <= now, trigger.schedule.after(began)))
    fired = Counter(moment for moment, _ in firings)
    assert len(set(firings)) == len({id for _, id in firings}) == len(fired)
    assert set(fired) <= set(scheduled)
    if trigger.catch_up == "all":
        assert set(fired) == set(scheduled)
    if trigger.catch_up == "once":
        assert not scheduled or scheduled[-1] in fired
    if not any(step == "lose the lease" for step, _ in steps):
        assert fired.total() == len(fired)


async def _messages(broker: MemoryBroker) -> list[Message]:
    queue = inbox("orders.tick")
    deliveries = [await broker.get(queue) for _ in range(await broker.depth(queue))]
    return [delivery.message for delivery in deliveries]


def moment(message: Message) -> int:
    return to_microseconds(datetime.fromisoformat(message.headers[f"{ATTRIBUTE_PREFIX}time"]))
