"""What is handed back spends nothing and keeps its order, also beside what a kill gives back."""

import asyncio
import random

import pytest

from eventmesh import Context, Service
from eventmesh.deliveries.hand_back import HandBack, Renewal
from eventmesh.engine.settlement import MAX_HAND_BACKS
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox, to_queue

HAND_BACKS = 35
"""More than a message may be lost in crashes."""


def same(message):
    return message


@pytest.fixture
def hand_back(mesh, broker, function):
    return HandBack(broker, mesh.clock, Renewal(to_queue(inbox(function)), same))


async def fill(broker, mesh, function, count):
    await broker.declare([inbox(function), dead_letters(function)])
    for number in range(count):
        await broker.publish(to_queue(inbox(function)), mesh.message(b"%d" % number))


async def test_no_hand_back_counts_towards_a_limit_however_many_there_are(
    mesh, broker, function, hand_back
):
    received = mesh.collector()
    await fill(broker, mesh, function, 1)
    async with broker.consume(inbox(function), received, prefetch=1):
        first = (await received.next()).message  # And lost, which counts once.
    async with broker.consume(inbox(function), received, prefetch=1):
        delivery = await received.next()
        lost = delivery.redeliveries
        for number in range(HAND_BACKS):
            assert delivery.redeliveries == lost + number
            assert delivery.losses <= MAX_HAND_BACKS
            assert delivery.message.id == first.id
            hand_back.add(delivery)
            await mesh.soon(hand_back.flush())
            delivery = await received.next()
        delivery.ack()
    assert await broker.depth(dead_letters(function)) == 0


async def test_what_is_handed_back_in_any_order_comes_in_the_order_of_before(
    mesh, broker, other, function, hand_back
):
    taken, received = mesh.collector(), mesh.collector()
    await fill(broker, mesh, function, 8)
    async with broker.consume(inbox(function), taken, prefetch=6) as subscription:
        deliveries = await taken.take(6)
        await subscription.stop()
        random.Random(7).shuffle(deliveries)
        for delivery in deliveries:
            hand_back.add(delivery)
        await hand_back.flush()
        async with other.consume(inbox(function), received, prefetch=8):
            assert await received.bodies(8) == [b"%d" % number for number in range(8)]


async def test_what_was_settled_is_not_handed_back(mesh, broker, function, hand_back):
    received = mesh.collector()
    await fill(broker, mesh, function, 2)
    async with broker.consume(inbox(function), received, prefetch=2):
        first, second = await received.take(2)
        first.ack()
        assert (first.held, second.held) == (False, True)
        hand_back.add(first)
        hand_back.add(second)
        await hand_back.flush()
        assert not second.held
        assert await received.bodies(1) == [b"1"]
    assert await broker.depth(inbox(function)) == 0


class Sequence:
    """The function of a service with `concurrency=1`, of which so many runs end as it is told."""

    def __init__(self, function):
        service, name = function.split(".")
        self.app = Service(service)
        self.app.function(name=name, concurrency=1)(self.handle)
        self.seen = asyncio.Queue()
        self.ended = []
        self.may_end = 0

    async def handle(self, ctx: Context, number: int) -> None:
        assert ctx.attempt == 1
        self.seen.put_nowait(("begun", number))
        if not self.may_end:
            await asyncio.Event().wait()
        self.may_end -= 1
        self.ended.append(number)
        self.seen.put_nowait(("ended", number))

    async def sees(self, what, number):
        while await self.seen.get() != (what, number):
            pass


@pytest.mark.parametrize("seed", range(3))
async def test_with_concurrency_1_the_order_survives_drains_and_kills(
    mesh, broker, other, function, seed
):
    chance, total = random.Random(seed), 12
    await broker.declare([inbox(function)])
    for number in range(total):
        message = mesh.message(b'{"number": %d}' % number)
        await broker.publish(to_queue(inbox(function)), message)
    sequence = Sequence(function)
    while (ended := len(sequence.ended)) < total:
        if chance.random() < 0.3:
            received = mesh.collector()
            async with other.consume(inbox(function), received, prefetch=1):
                await received.next()  # And killed, with what it had.
        sequence.may_end = chance.randrange(4)
        until = min(ended + sequence.may_end, total)
        async with host_services(
            [sequence.app], broker, Settings(grace=0), clock=mesh.clock, http=None
        ):
            last = ("begun", until) if until < total else ("ended", total - 1)
            await mesh.soon(sequence.sees(*last))
    assert sequence.ended == list(range(total))
