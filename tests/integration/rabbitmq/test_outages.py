"""What a process logs while its broker is away: one warning, and one line when it is back."""

import logging
from contextlib import AsyncExitStack

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, rpc_queue, to_queue

CONSUMERS = 20
LOGGER = "eventmesh.rabbitmq"


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO, LOGGER)

    def logged(level):
        return [
            record.getMessage()
            for record in caplog.records
            if record.name == LOGGER and record.levelno == level
        ]

    return logged


def queues(function):
    for number in range(CONSUMERS // 2):
        yield inbox(f"{function}_{number}")
        yield rpc_queue(f"{function}_{number}", 10)


async def stop_and_start(rabbitmq):
    await rabbitmq.stop()
    await rabbitmq.start()


async def kill_and_start(rabbitmq):
    await rabbitmq.kill()
    await rabbitmq.start()


@pytest.mark.disruptive
@pytest.mark.parametrize("fail", [stop_and_start, kill_and_start], ids=["stopped", "killed"])
async def test_one_warning_for_all_consumers(rabbitmq, function, logged, until, fail):
    url = await rabbitmq.new_virtual_host()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(RabbitBroker(url, name="shop"))
        for queue in queues(function):
            await broker.declare([queue])
            await stack.enter_async_context(broker.consume(queue, print, prefetch=1))
        slots = await stack.enter_async_context(broker.slots(f"em.slots.{function}", 2))
        await slots.acquire()
        assert logged(logging.WARNING) == []
        await fail(rabbitmq)
        await until(lambda: broker.ready)
        # Whatever else is to be said of the outage has been said by then.
        await broker.publish(to_queue(inbox(f"{function}_0")), Message(b"", "m", 1.0), delay=0.1)
        (warning,) = logged(logging.WARNING)
        assert warning.startswith("shop: ")
        assert warning.endswith("; trying again until it works")
        assert sum("connected to amqp://" in line for line in logged(logging.INFO)) == 2
