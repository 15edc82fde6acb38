"""Slots and leases are given out in the order of asking, whatever happens to those who wait."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from eventmesh.brokers.memory.slots import ResizableSemaphore


async def test_first_come_first_served(broker, clock):
    order = []

    async def hold(slots, number):
        await slots.acquire()
        order.append(number)
        slots.release()

    async with broker.slots("s", 1) as slots, asyncio.TaskGroup() as group:
        await slots.acquire()
        for number in range(5):
            group.create_task(hold(slots, number))
            await clock.settle()
        slots.release()
    assert order == [0, 1, 2, 3, 4]


async def test_the_lease_goes_to_who_has_waited_longest(broker, clock):
    order = []

    async def hold(number):
        async with broker.lease("l"):
            order.append(number)

    async with asyncio.TaskGroup() as group, broker.lease("l"):
        for number in range(5):
            group.create_task(hold(number))
            await clock.settle()
    assert order == [0, 1, 2, 3, 4]


async def test_a_permit_given_to_who_gives_up_at_that_moment_goes_on_to_the_next(clock):
    permits = ResizableSemaphore(1)
    await permits.acquire()
    async with asyncio.TaskGroup() as waits:
        given_up = waits.create_task(permits.acquire())
        next_one = waits.create_task(permits.acquire())
        await clock.settle()
        permits.release()
        given_up.cancel()
        await next_one
    assert given_up.cancelled()


class Crowd:
    """Users of two permits, driven step by step."""

    def __init__(self, group):
        self.group = group
        self.limit = 2
        self.permits = ResizableSemaphore(self.limit)
        self.held = 0
        self.waits = []

    async def take(self):
        await self.permits.acquire()
        assert self.held < self.limit
        self.held += 1

    def acquire(self, _):
        self.waits.append(self.group.create_task(self.take()))

    def release(self, _):
        if self.held:
            self.held -= 1
            self.permits.release()

    def cancel(self, number):
        if self.waits:
            self.waits[number % len(self.waits)].cancel()

    def resize(self, number):
        self.limit = 1 + number % 4
        self.permits.resize(self.limit)

    async def disperse(self):
        """Everybody gets a permit in the end, and gives it back."""
        while self.held or not all(wait.done() for wait in self.waits):
            await asyncio.sleep(0)
            self.release(0)


ACTIONS = st.sampled_from(["acquire", "release", "cancel", "resize", "pass"])


@given(steps=st.lists(st.tuples(ACTIONS, st.integers(0, 9)), max_size=60))
async def test_over_any_schedule_no_permit_is_lost_and_no_limit_passed(steps):
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        crowd = Crowd(group)
        for action, number in steps:
            if action in ("pass", "resize"):  # Whoever has been given a permit takes it first.
                await asyncio.sleep(0)
            if action != "pass":
                getattr(crowd, action)(number)
        await crowd.disperse()
        for _ in range(crowd.limit):
            await crowd.permits.acquire()
        one_more = group.create_task(crowd.permits.acquire())
        await asyncio.sleep(0)
        assert not one_more.done()
        one_more.cancel()
