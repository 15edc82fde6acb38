# ruff: noqa: SLF001 - one time limit is set apart from another
"""Queues on a node that is away: who declares, consumes, publishes and asks is told, and goes on.

The record of such a queue is made by hand, as a cluster of up to 3.13 keeps it: the queue is
durable, and its process was on a node that nobody reaches.
"""

import asyncio
import json
import time

import pytest
import pytest_asyncio
from waiting import DEADLINE

from eventmesh.brokers.rabbitmq.broker import RabbitBroker
from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.brokers.rabbitmq.management.inspector import RabbitInspector
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import (
    Binding,
    broadcast,
    dead_letters,
    inbox,
    named,
    rpc_queue,
    to_queue,
    to_rpc,
    to_subscribers,
)

FUNCTION = "shop.place"

VERSION = 'rabbit_misc:version_compare(rabbit_misc:version(), "4.0", lt).'

NAME = "Name = rabbit_misc:r(<<{vhost}>>, queue, <<{name}>>), "
LOSE = NAME + (
    'Pid = binary_to_term(<<131, 88, 119, 14, "gone@elsewhere", 1:32, 0:32, 1:32>>), '
    "Queue = amqqueue:new(Name, Pid, true, false, none, [], <<{vhost}>>, #{{}}, "
    "rabbit_classic_queue), "
    "ok = mnesia:dirty_write(rabbit_durable_queue, Queue)."
)
DELETE = NAME + (
    "{{ok, Old}} = rabbit_amqqueue:lookup(Name), "
    '{{ok, _}} = rabbit_amqqueue:delete(Old, false, false, <<"test">>), '
)
FIND = NAME + "ok = mnesia:dirty_delete(rabbit_durable_queue, Name)."


@pytest_asyncio.fixture
async def place(rabbitmq):
    """The URL of an empty virtual host."""
    if "true" not in await rabbitmq.ctl("eval", VERSION):
        pytest.skip("from 4.0 on the records of queues are elsewhere")
    return await rabbitmq.new_virtual_host()


@pytest.fixture
def evaluate(rabbitmq, place):
    async def evaluate(script, queue):
        vhost = place.rpartition("/")[2]
        await rabbitmq.ctl(
            "eval", script.format(vhost=json.dumps(vhost), name=json.dumps(queue.name))
        )

    return evaluate


@pytest.fixture
async def broker(place):
    async with RabbitBroker(place, connect_timeout=DEADLINE) as broker:
        yield broker


def request():
    now = time.time()
    return Message(b"{}", new_id(), now, deadline=time.monotonic() + DEADLINE)


async def test_a_caller_is_told_that_the_node_is_away_and_not_the_function(broker, evaluate):
    await evaluate(LOSE, rpc_queue(FUNCTION, 5))
    with pytest.raises(QueueAway, match="elsewhere"):
        await broker.request(to_rpc(FUNCTION), request())
    with pytest.raises(FunctionNotFound):
        await broker.request(to_rpc("shop.other"), request())


async def test_a_sender_is_told_so_too(broker, evaluate):
    await evaluate(LOSE, named("theirs"))
    for delay in (0.0, 0.1):
        with pytest.raises(QueueAway, match="elsewhere"):
            await broker.publish(to_queue(named("theirs")), request(), delay=delay)


@pytest.mark.parametrize("operation", ["depth", "purge", "get"])
async def test_a_queue_that_is_away_is_not_taken_for_an_empty_one(broker, evaluate, operation):
    await evaluate(LOSE, dead_letters(FUNCTION))
    with pytest.raises(QueueAway):
        await getattr(broker, operation)(dead_letters(FUNCTION))


async def test_a_service_starts_without_its_synchronous_queue_and_takes_it_later(
    broker, evaluate, until
):
    away, there = rpc_queue(FUNCTION, 5), rpc_queue("shop.other", 5)
    await evaluate(LOSE, away)
    taken = []
    await broker.declare([away, there])
    async with (
        broker.consume(away, taken.append, prefetch=1),
        broker.consume(there, taken.append, prefetch=1),
    ):
        assert broker.ready
        assert await broker.depth(there) == 0
        await evaluate(FIND, away)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(ask_until_taken(broker, taken))
            await until(lambda: taken)
            taken.pop().ack()
            asking.cancel()


async def ask_until_taken(broker, taken):
    while not taken:
        try:
            await broker.request(to_rpc(FUNCTION), request())
        except (FunctionNotFound, QueueAway):
            continue


async def test_declaring_waits_until_the_node_is_back(broker, evaluate):
    queue = inbox(FUNCTION)
    await evaluate(LOSE, queue)
    async with asyncio.TaskGroup() as tasks:
        declaring = tasks.create_task(broker.declare([queue]))
        with pytest.raises(QueueAway):
            await broker.depth(queue)
        assert not declaring.done()
        await evaluate(FIND, queue)
        async with asyncio.timeout(DEADLINE):
            await declaring
    assert await broker.depth(queue) == 0


async def test_whoever_is_in_a_hurry_is_told_why_it_cannot_be_declared(place, evaluate):
    await evaluate(LOSE, inbox(FUNCTION))
    async with RabbitBroker(place, connect_timeout=DEADLINE) as hasty:
        # The limit is the same for the connections, which may take their time here.
        hasty._declaring._timeout = 0.0
        with pytest.raises(QueueAway, match="elsewhere"):
            await hasty.declare([inbox(FUNCTION)])


async def test_broadcast_copies_go_on_in_another_queue_at_once(
    rabbitmq, place, broker, evaluate, until
):
    queue, vhost = broadcast(FUNCTION, "i1"), place.rpartition("/")[2]
    taken = []
    await broker.declare([queue], [Binding(queue, "order.*")])
    async with broker.consume(queue, taken.append, prefetch=10):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(until(lambda: not broker.ready))
            await evaluate(DELETE + LOSE, queue)
        await until(lambda: broker.ready)
        await broker.publish(to_subscribers("order.placed"), request())
        await broker.publish(to_subscribers("order.placed"), request(), delay=0.1)
        # A retry goes to the queue of that instance, by the name that it had.
        await broker.publish(to_queue(queue), request())
        await broker.publish(to_queue(queue), request(), delay=0.1)
        await until(lambda: len(taken) == 4)
        for delivery in taken:
            delivery.ack()
    left = await rabbitmq.queues(vhost)
    assert not [name for name in left if name.startswith(queue.name) and name != queue.name]


async def test_slots_are_made_anew_on_another_node(rabbitmq, place, broker, evaluate):
    name, vhost = "em.slots.shop.place", place.rpartition("/")[2]

    async def tokens():
        names = await rabbitmq.queues(vhost)
        return {one for one in names if one.startswith(f"{name}.") and one != f"{name}.lease"}

    async with asyncio.timeout(DEADLINE), broker.slots(name, 1) as slots:
        await slots.acquire()
        (before,) = await tokens()
        await evaluate(DELETE + LOSE, named(before))
        while not await tokens() - {before}:
            pass
        slots.release()
        await slots.acquire()


async def test_the_doctor_sees_that_a_queue_is_away(place, evaluate):
    await evaluate(LOSE, inbox(FUNCTION))
    async with RabbitInspector(place, "doctor") as inspector:
        found = await inspector.describe(inbox(FUNCTION))
    assert "elsewhere" in found.away
