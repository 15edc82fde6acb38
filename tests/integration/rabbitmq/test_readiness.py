"""Being ready means that each subscription has its consumer: on a real broker that takes it."""

import asyncio

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.topology import inbox, named


async def delete_the_queue(rabbitmq, function):
    await rabbitmq.delete_queue(inbox(function).name)


async def kill_the_channels(rabbitmq, function):
    await rabbitmq.kill_channels()


async def close_the_connection(rabbitmq, function):
    await rabbitmq.close_connections(f"{function} (consuming)")


@pytest.fixture
async def broker(rabbitmq, function):
    async with RabbitBroker(rabbitmq.url, name=function, connect_timeout=30) as broker:
        yield broker


def ignore(delivery):
    pass


LOSSES = [
    delete_the_queue,
    pytest.param(kill_the_channels, marks=pytest.mark.disruptive),
    close_the_connection,
]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_it_is_not_ready_until_the_consumer_is_back(rabbitmq, broker, function, until, lose):
    async with broker.consume(inbox(function), ignore, prefetch=1):
        assert broker.ready
        async with asyncio.TaskGroup() as tasks:
            # Begun before: the consumer may be back before the command that took it has ended.
            tasks.create_task(until(lambda: not broker.ready))
            await lose(rabbitmq, function)
        await until(lambda: broker.ready)


async def test_it_is_not_ready_for_as_long_as_the_queue_is_gone(
    rabbitmq, broker, function, connecting, until
):
    async with connecting(rabbitmq.url) as owner:
        await owner.management.declare([named(function)])
        async with broker.consume(named(function, declare=False), ignore, prefetch=1):
            assert broker.ready
            await rabbitmq.delete_queue(function)
            await until(lambda: not broker.ready)
            assert await broker.depth(named(function)) == 0
            assert not broker.ready
            await owner.management.declare([named(function)])
            await until(lambda: broker.ready)
        await rabbitmq.delete_queue(function)
        assert broker.ready
