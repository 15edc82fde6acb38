"""What waits for a worker: nothing is stranded, whoever is woken, cancelled or closed."""

import asyncio
import random
from contextlib import asynccontextmanager, suppress

import pytest

from eventmesh.aio.clock import sleep
from eventmesh.brokers.memory.queue import MemoryDelivery
from eventmesh.deliveries.buffer import Batcher, DeliveryBuffer
from eventmesh.model.topology import named, to_queue

QUEUE = named("jobs")


@pytest.fixture
def deliveries(broker, message):
    """Takes numbered messages from a real queue."""

    async def deliveries(count):
        await broker.declare([QUEUE])
        for number in range(count):
            await broker.publish(to_queue(QUEUE), message(b"%d" % number))
        return [await broker.get(QUEUE) for _ in range(count)]

    return deliveries


@pytest.fixture
def buffer():
    return DeliveryBuffer(MemoryDelivery.requeue)


async def settled(task):
    """Let a task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


async def test_deliveries_are_taken_in_order(buffer, deliveries):
    first, second = await deliveries(2)
    buffer.put(first)
    buffer.put(second)
    assert await buffer.take() is first
    assert buffer.take_nowait() is second
    assert buffer.take_nowait() is None


async def test_taking_waits_for_a_delivery(buffer, deliveries):
    (delivery,) = await deliveries(1)
    taking = asyncio.create_task(buffer.take())
    assert not await settled(taking)
    buffer.put(delivery)
    assert await taking is delivery


async def test_as_many_are_woken_as_there_are_deliveries(buffer, deliveries):
    taking = [asyncio.create_task(buffer.take()) for _ in range(4)]
    await settled(taking[0])
    for delivery in await deliveries(3):
        buffer.put(delivery)
    await settled(taking[0])
    assert sorted(task.done() for task in taking) == [False, True, True, True]
    buffer.close()
    assert None in [await task for task in taking]


async def test_one_that_is_cancelled_as_it_is_woken_passes_its_turn_on(buffer, deliveries):
    (delivery,) = await deliveries(1)
    patient, woken = (asyncio.create_task(buffer.take()) for _ in range(2))
    await settled(woken)
    buffer.put(delivery)  # Wakes the one that went idle last.
    woken.cancel()
    assert await patient is delivery
    assert woken.cancelled()


async def test_one_that_is_cancelled_while_it_waits_is_not_woken(buffer, deliveries):
    (delivery,) = await deliveries(1)
    patient, impatient = (asyncio.create_task(buffer.take()) for _ in range(2))
    await settled(impatient)
    impatient.cancel()
    await settled(impatient)
    buffer.put(delivery)
    assert await patient is delivery


async def test_one_that_has_yet_to_learn_that_it_is_cancelled_is_not_woken(buffer, deliveries):
    (delivery,) = await deliveries(1)
    patient, cancelled = (asyncio.create_task(buffer.take()) for _ in range(2))
    await settled(cancelled)
    cancelled.cancel()
    buffer.put(delivery)
    assert await patient is delivery


async def test_what_somebody_else_took_meanwhile_leaves_the_woken_one_waiting(buffer, deliveries):
    first, second = await deliveries(2)
    taking = asyncio.create_task(buffer.take())
    await settled(taking)
    buffer.put(first)
    assert buffer.take_nowait() is first
    assert not await settled(taking)
    buffer.put(second)
    assert await taking is second


async def test_closing_hands_back_what_nobody_took_and_ends_those_who_wait(
    broker, buffer, deliveries
):
    waiting = asyncio.create_task(buffer.take())
    await settled(waiting)
    for delivery in await deliveries(3):
        buffer.put(delivery)
    buffer.close()
    assert await waiting is None
    assert await buffer.take() is None
    assert await broker.depth(QUEUE) == 3


async def test_closing_to_finish_leaves_what_is_there_to_be_taken(broker, buffer, deliveries):
    first, second = await deliveries(2)
    buffer.put(first)
    buffer.put(second)
    buffer.close(finish=True)
    assert await buffer.take() is first
    buffer.hand_back_all()
    assert await buffer.take() is None
    assert await broker.depth(QUEUE) == 1


async def test_what_comes_after_closing_goes_back_untouched(broker, buffer, deliveries):
    (delivery,) = await deliveries(1)
    buffer.close(finish=True)
    buffer.put(delivery)
    assert await buffer.take() is None
    assert (await broker.get(QUEUE)).losses == 0


async def test_nothing_is_stranded_whoever_is_cancelled_and_whenever(buffer, deliveries):
    chance = random.Random(7)
    taken = []

    async def take():
        while (delivery := await buffer.take()) is not None:
            taken.append(delivery)
            await asyncio.sleep(0)

    everything = await deliveries(300)
    workers = [asyncio.create_task(take()) for _ in range(5)]
    for delivery in everything:
        buffer.put(delivery)
        if chance.random() < 0.5:
            chance.choice(workers).cancel()
            workers.append(asyncio.create_task(take()))
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    buffer.close(finish=True)
    for worker in workers:
        with suppress(asyncio.CancelledError):
            await worker
    assert [one.number for one in taken] == [one.number for one in everything]


async def test_a_batch_that_is_cancelled_as_a_delivery_comes_goes_back_whole(
    broker, clock, buffer, deliveries
):
    first, second = await deliveries(2)
    taking = asyncio.create_task(Batcher(buffer, clock, 3, 60.0, MemoryDelivery.requeue).take())
    buffer.put(first)
    await sleep(clock, 0)
    await settled(taking)
    buffer.put(second)
    taking.cancel()
    with suppress(asyncio.CancelledError):
        await taking
    buffer.close()
    assert await broker.depth(QUEUE) == 2


@pytest.fixture
def losing(broker, message):
    """Delivers so many messages while entered, to a consumer that is then lost."""

    @asynccontextmanager
    async def losing(buffer, count):
        await broker.declare([QUEUE])
        for _ in range(count):
            await broker.publish(to_queue(QUEUE), message())
        async with broker.consume(QUEUE, buffer.put, prefetch=count):
            yield
        await broker.purge(QUEUE)

    return losing


async def test_what_a_lost_consumer_left_behind_is_not_taken(buffer, deliveries, losing):
    async with losing(buffer, 2):
        pass
    assert buffer.take_nowait() is None
    async with losing(buffer, 2):
        pass
    (delivery,) = await deliveries(1)
    buffer.put(delivery)
    assert await buffer.take() is delivery


async def test_what_lost_consumers_left_behind_does_not_pile_up(buffer, losing):
    for _ in range(10):
        async with losing(buffer, 3):
            assert len(buffer._deliveries) == 3  # noqa: SLF001 nobody else sees them


async def test_finishing_leaves_out_what_a_lost_consumer_left_behind(buffer, losing):
    async with losing(buffer, 2):
        pass
    buffer.close(finish=True)
    assert await buffer.take() is None


async def test_what_is_lost_while_a_batch_is_filled_is_no_part_of_it(
    clock, buffer, deliveries, losing
):
    taking = asyncio.create_task(Batcher(buffer, clock, 3, 60.0, MemoryDelivery.requeue).take())
    async with losing(buffer, 2):
        await settled(taking)
    (delivery,) = await deliveries(1)
    buffer.put(delivery)
    assert await taking == [delivery]


async def test_a_batch_of_which_all_is_lost_is_none(clock, buffer, deliveries, losing):
    taking = asyncio.create_task(Batcher(buffer, clock, 3, 60.0, MemoryDelivery.requeue).take())
    async with losing(buffer, 2):
        await settled(taking)
    await clock.advance(60)
    assert not taking.done()
    (delivery,) = await deliveries(1)
    buffer.put(delivery)
    await clock.advance(60)
    assert await taking == [delivery]
