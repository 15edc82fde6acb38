"""Who gives up a question to RabbitMQ does not disturb those who ask on the same connection."""

import asyncio

import pytest
from waiting import PAUSE

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.topology import inbox


@pytest.fixture
async def broker(rabbitmq):
    url = await rabbitmq.new_virtual_host()
    async with RabbitBroker(url, connect_timeout=60) as broker:
        yield broker


async def test_a_question_may_be_given_up_at_any_moment(broker, function):
    queue = inbox(function)
    await broker.declare([queue])
    asked = 0

    async def ask_on():
        nonlocal asked
        while True:
            assert await broker.depth(queue) == 0
            asked += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask_on())
        for number in range(150):
            given_up = tasks.create_task(broker.depth(queue))
            # A question is some round trips: it ends at another step of them each time.
            for _ in range(number % 30):
                await asyncio.sleep(0)
            given_up.cancel()
            before = asked
            while asked < before + 2:
                await asyncio.sleep(PAUSE)
        asking.cancel()
