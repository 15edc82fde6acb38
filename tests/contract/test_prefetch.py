"""The prefetch of a consumer changes while it runs, and nobody holds what others could run."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from waiting import PAUSE

from eventmesh import Service
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import inbox, to_queue


@pytest.fixture
def fill(broker, mesh, function):
    async def fill(*numbers):
        await broker.declare([inbox(function)])
        for number in numbers:
            message = mesh.message(b'{"number": %d}' % number)
            await broker.publish(to_queue(inbox(function)), message)

    return fill


@pytest.fixture
def until(mesh):
    async def until(condition):
        async def wait():
            while not condition():
                await mesh.elapse(0.01)
                await asyncio.sleep(PAUSE)

        await mesh.soon(wait())

    return until


async def test_a_larger_prefetch_has_more_delivered(mesh, broker, function, fill):
    received = mesh.collector()
    await fill(*range(9))
    async with broker.consume(inbox(function), received, prefetch=2) as subscription:
        await received.take(2)
        await mesh.soon(subscription.resize(5))
        await received.take(3)
        await mesh.depth_reaches(broker, inbox(function), 4)
        await mesh.soon(subscription.resize(7))
        await received.take(2)
        await mesh.depth_reaches(broker, inbox(function), 2)


async def test_with_a_smaller_prefetch_what_is_held_counts(mesh, broker, other, function, fill):
    received, rest = mesh.collector(), mesh.collector()
    await fill(*range(9))
    async with broker.consume(inbox(function), received, prefetch=6) as subscription:
        held = await received.take(6)
        await mesh.soon(subscription.resize(2))
        for _ in range(4):
            held.pop().ack()
        # Two are held: as many as may be, so another consumer gets all that are left.
        async with other.consume(inbox(function), rest, prefetch=10) as others:
            await rest.take(3)
            await others.stop()
            held.pop().ack()
            await fill(9)
            held.append(await received.next())
            held.pop().ack()
            await fill(10, 11)
            await received.next()
            await mesh.depth_reaches(broker, inbox(function), 1)


async def test_what_goes_back_once_the_prefetch_is_smaller_is_for_others(
    mesh, broker, other, function, fill
):
    received, rest = mesh.collector(), mesh.collector()
    await fill(*range(8))
    async with broker.consume(inbox(function), received, prefetch=8) as subscription:
        held = await received.take(8)
        await mesh.soon(subscription.resize(3))
        for delivery in held[3:]:
            delivery.requeue()
        await mesh.depth_reaches(broker, inbox(function), 5)
        async with other.consume(inbox(function), rest, prefetch=8):
            assert sorted(await rest.bodies(5)) == [b'{"number": %d}' % n for n in range(3, 8)]
        for delivery in held[:3]:
            delivery.ack()
        await fill(*range(4))
        assert len(await received.take(3)) == 3
        await mesh.depth_reaches(broker, inbox(function), 1)


class Held:
    """What a consumer has delivered, which must never be more than may be at that time."""

    def __init__(self, prefetch):
        self.prefetch = self.most = prefetch
        self.deliveries = []
        self.too_many = 0

    def __call__(self, delivery):
        self.deliveries.append(delivery)
        self.too_many += len(self.deliveries) > self.most

    def ack(self, index):
        delivery = self.deliveries.pop(index)
        self.most = max(self.prefetch, len(self.deliveries))
        delivery.ack()

    async def resize(self, subscription, prefetch):
        # While it shrinks, as many may come as before.
        self.most = max(prefetch, self.most)
        await subscription.resize(prefetch)
        self.prefetch = prefetch
        self.most = max(prefetch, len(self.deliveries))


@pytest.mark.parametrize("seed", range(3))
async def test_it_may_change_at_any_time_and_is_kept(mesh, broker, function, fill, until, seed):
    chance, total = random.Random(seed), 60
    held = Held(3)
    await fill(*range(total))
    async with broker.consume(inbox(function), held, prefetch=3) as subscription:
        left = total
        while left:
            if chance.random() < 0.5:
                await mesh.soon(held.resize(subscription, chance.randrange(1, 9)))
            for _ in range(chance.randrange(len(held.deliveries) + 1)):
                held.ack(chance.randrange(len(held.deliveries)))
                left -= 1
            await until(lambda: len(held.deliveries) >= min(held.prefetch, left))  # noqa: B023
    assert held.too_many == 0


async def test_a_consumer_that_was_stopped_stays_so(mesh, broker, function, fill):
    received = mesh.collector()
    await fill(0)
    async with broker.consume(inbox(function), received, prefetch=1) as subscription:
        await received.next()
        await mesh.soon(subscription.stop())
        await mesh.soon(subscription.resize(5))
        await fill(1, 2)
        await mesh.depth_reaches(broker, inbox(function), 2)


class Replica:
    """A process with a function whose runs wait to be ended, those from `slow_from` on."""

    def __init__(self, function, concurrency, slow_from=0):
        service, name = function.split(".")
        self.app = Service(service)
        self.app.function(name=name, concurrency=concurrency, timeout=None)(self.handle)
        self.gate = asyncio.Semaphore(0)
        self.slow_from = slow_from
        self.running = set()
        self.ended = []

    async def handle(self, number: int) -> None:
        self.running.add(number)
        if number >= self.slow_from:
            await self.gate.acquire()
        self.running.discard(number)
        self.ended.append(number)


@pytest.fixture
def run(mesh):
    """Run replicas, each over a broker of its own, while entered."""

    def run(replica, broker):
        return host_services([replica.app], broker, Settings(grace=0), clock=mesh.clock, http=None)

    return run


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_two_replicas_of_a_slow_function_hold_what_they_run_and_no_more(
    mesh, broker, other, function, fill, run, until, concurrency
):
    one, two = Replica(function, concurrency), Replica(function, concurrency)
    await fill(*range(10))
    async with run(one, broker), run(two, other):
        for left in range(10, 0, -1):
            at_once = min(left, 2 * concurrency)
            await until(lambda n=at_once: len(one.running) + len(two.running) == n)
            # Whichever replica ends one takes another: what waits does so in the queue.
            await mesh.depth_reaches(broker, inbox(function), left - at_once)
            (one if one.running and (left % 2 or not two.running) else two).gate.release()
            await until(lambda n=left: len(one.ended) + len(two.ended) == 11 - n)
    assert sorted(one.ended + two.ended) == list(range(10))


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_what_was_taken_ahead_goes_back_when_the_runs_become_slow(
    mesh, broker, other, function, fill, run, until, concurrency
):
    quick, slow = 100, 60
    one, two = (Replica(function, concurrency, slow_from=quick) for _ in range(2))
    await fill(*range(quick + slow))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(run(one, broker))
        await until(lambda: len(one.running) == concurrency and min(one.running) >= quick)
        # Beside several workers, some may have gone back and been overtaken.
        ended, left = len(one.ended), quick - len(one.ended)
        await stack.enter_async_context(run(two, other))
        await until(lambda: len(two.running) == concurrency and min(two.running) >= quick)
        held = len(one.ended) + len(two.ended) + 2 * concurrency
        await mesh.depth_reaches(broker, inbox(function), quick + slow - held)
        # The first one hangs; the second one runs all that is left.
        two.slow_from = quick + slow
        for _ in range(concurrency):
            two.gate.release()
        await until(lambda: len(two.ended) == left + slow - concurrency)
        assert len(one.ended) == ended
        for _ in range(concurrency):
            one.gate.release()
        await until(lambda: len(one.ended) == ended + concurrency)
    assert sorted(one.ended + two.ended) == list(range(quick + slow))
