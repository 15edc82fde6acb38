"""Delayed messages on a real broker: none early, none lost, none in the way of another."""

import asyncio
import random
import time
from contextlib import suppress

import pytest

from eventmesh.brokers.rabbitmq.declarations import QueueDeclaration
from eventmesh.brokers.rabbitmq.delays import LEVELS, LOST, DelayLadder, ladder, level_name
from eventmesh.brokers.rabbitmq.management.inspector import RabbitInspector
from eventmesh.model.errors import BrokerUnavailable, FunctionNotFound
from eventmesh.model.topology import Binding, inbox, named, to_queue, to_subscribers

DAY = 86400.0
LOST_QUEUE = named(LOST)


@pytest.fixture
def delays(client):
    return DelayLadder(client.management)


@pytest.fixture
async def queue(client, function):
    """An inbox that waits for messages."""
    declared = inbox(function)
    await client.management.declare([declared])
    return declared


async def send(client, delays, queue, delay, body=b""):
    await client.send(await delays.ensure(to_queue(queue), delay), body)


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.7, 1.7, 2.0])
async def test_a_message_does_not_come_before_its_time(client, delays, queue, delay):
    sent = time.time()
    await send(client, delays, queue, delay, b"late")
    assert await client.take(queue) == b"late"
    assert time.time() >= sent + delay


async def test_many_delays_at_once(client, delays, queue):
    chance = random.Random(1)
    due = {}
    for number in range(100):
        delay = chance.randrange(1, 25) / 10
        due[b"%d" % number] = time.time() + delay
        await send(client, delays, queue, delay, b"%d" % number)
    for _ in range(100):
        assert due.pop(await client.take(queue)) <= time.time()
    assert not due


async def test_a_long_delay_does_not_hold_up_a_short_one(client, delays, queue):
    await send(client, delays, queue, DAY, b"tomorrow")
    await send(client, delays, queue, DAY + 0.2, b"tomorrow, too")
    await send(client, delays, queue, 0.2, b"soon")
    assert await client.take(queue) == b"soon"


async def test_the_whole_ladder_can_be_made(rabbitmq, connecting):
    url = await rabbitmq.new_virtual_host()
    async with connecting(url) as client:
        await client.management.carry_out(list(ladder(LEVELS)))
    made = await rabbitmq.queues(url.rpartition("/")[2])
    assert made.keys() == {LOST, *map(level_name, range(LEVELS))}
    assert {row["type"] for row in made.values()} == {"quorum"}


async def test_a_queue_that_is_not_there_is_told_at_once(client, delays, function):
    with pytest.raises(FunctionNotFound, match=function):
        await delays.ensure(to_queue(inbox(function), function), 1)


async def test_a_queue_of_another_system_gets_delayed_messages_too(client, delays, function):
    theirs = named(function, declare=False)
    await client.management.carry_out([QueueDeclaration(function, {"x-queue-type": "classic"})])
    await send(client, delays, theirs, 0.2, b"late")
    assert await client.take(theirs) == b"late"


async def test_a_queue_that_is_made_again_gets_what_is_on_its_way(client, delays, queue):
    await send(client, delays, queue, 0.8, b"late")
    await client.management.delete(queue.name)
    await client.management.declare([queue])
    assert await client.take(queue) == b"late"


async def test_what_has_nowhere_to_go_any_more_is_kept_and_blocks_nobody(
    rabbitmq, connecting, queue, function
):
    url = await rabbitmq.new_virtual_host()
    async with connecting(url) as client, RabbitInspector(url, "test") as inspector:
        assert (await inspector.lost()).count == 0
        delays = DelayLadder(client.management)
        gone = inbox(f"{function}_gone")
        await client.management.declare([queue, gone])
        route = await delays.ensure(to_queue(gone), 2)
        await client.management.delete(gone.name)
        # More than one level takes care of at once: 32.
        for number in range(50):
            await client.send(route, b"%d" % number)
        await client.depth_reaches(LOST_QUEUE, 50)
        assert (await inspector.lost()).count == 50
        await send(client, delays, queue, 0.3, b"late")
        assert await client.take(queue) == b"late"


async def test_an_event_that_nobody_wants_any_more_blocks_nobody(
    rabbitmq, connecting, queue, function
):
    async with connecting(await rabbitmq.new_virtual_host()) as client:
        delays = DelayLadder(client.management)
        await client.management.declare([queue], [Binding(queue, "order.*")])
        for _ in range(50):
            await client.send(await delays.ensure(to_subscribers("nobody.cares"), 0.1))
        await client.send(await delays.ensure(to_subscribers("order.due"), 0.1), b"due")
        assert await client.take(queue) == b"due"


@pytest.mark.disruptive
async def test_delayed_messages_outlive_a_restart_of_the_broker(
    rabbitmq, connecting, function, soon
):
    queue, sent, came = inbox(function), {b"%d" % number for number in range(20)}, set()

    async def all_come():
        # Each at least once: what was just passed on when the broker stopped is passed on again.
        while came != sent:
            with suppress(BrokerUnavailable):  # A queue is not there as soon as its broker is.
                came.add(await client.take(queue))

    async with connecting(rabbitmq.url) as client:
        delays = DelayLadder(client.management)
        await client.management.declare([queue])
        for body in sent:
            await send(client, delays, queue, 0.1 + int(body) / 2, body)
        await rabbitmq.restart()
        await soon(all_come())


async def test_two_ladders_are_made_at_once(rabbitmq, connecting, function):
    url = await rabbitmq.new_virtual_host()
    queue = inbox(function)
    async with connecting(url) as one, connecting(url) as two:
        await one.management.declare([queue])
        async with asyncio.TaskGroup() as tasks:
            for client in (one, two):
                delays = DelayLadder(client.management)
                tasks.create_task(send(client, delays, queue, 0.3, b"late"))
        await one.depth_reaches(queue, 2)
