"""Dead letters on a real RabbitMQ, whose answers it takes while others already ask again."""

import asyncio

import pytest

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, inbox, to_queue

FUNCTION = "orders.place"
IDS = {f"id-{number}" for number in range(200)}


@pytest.fixture
async def letters(rabbitmq):
    queue = dead_letters(FUNCTION)
    async with RabbitBroker(await rabbitmq.new_virtual_host(), connect_timeout=30) as broker:
        await broker.declare([queue, inbox(FUNCTION)])
        async with asyncio.TaskGroup() as tasks:
            for id in IDS:
                message = Message(b"{}", id, 1_700_000_000.0)
                tasks.create_task(broker.publish(to_queue(queue), message))
        yield BrokerDeadLetters(broker, SystemClock())


async def test_who_looks_at_the_same_time_sees_all_of_them(letters):
    async with asyncio.timeout(60):
        looks = await asyncio.gather(*(letters.list(FUNCTION, 1000) for _ in range(3)))
        shown = await asyncio.gather(*(letters.show(FUNCTION, id) for id in sorted(IDS)[:5]))
    assert [{letter.id for letter in look} for look in looks] == [IDS] * 3
    assert [letter.id for letter in shown] == sorted(IDS)[:5]


async def test_what_was_just_requeued_is_redriven(letters):
    async with asyncio.timeout(60):
        await letters.list(FUNCTION)
        assert await letters.redrive(FUNCTION, id="id-7") == 1
        done = await letters.redrive_oldest(FUNCTION, 100)
        assert (done.count, done.remaining) == (100, 99)
        await letters.list(FUNCTION)
        assert await letters.redrive(FUNCTION) == 99
