"""Dead-lettering after the dead-letter queue was deleted: it is created again."""

import asyncio
import json

import pytest
from waiting import PAUSE

from eventmesh import Reject, Service
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


async def letters_of(broker, function):
    # Looked at only once it is there: a get from a queue that is just made ends the connection.
    while not await broker.depth(dead_letters(function)):
        await asyncio.sleep(PAUSE)
    return await BrokerDeadLetters(broker, SystemClock()).list(function)


async def test_a_queue_of_dead_letters_that_was_deleted_is_made_again(rabbitmq, url, soon):
    app, runs = Service("app"), []
    queue, vhost = dead_letters("app.work"), url.rpartition("/")[2]

    @app.function
    async def work(number: int) -> None:
        runs.append(number)
        raise Reject("no")

    async with (
        RabbitBroker(url, connect_timeout=30) as broker,
        host_services([app], broker, Settings(grace=5), http=None) as host,
    ):
        made = (await rabbitmq.queues(vhost))[queue.name]
        for number in range(2):
            await rabbitmq.delete_queue(queue.name, vhost)
            await host.caller.send("app.work", {"number": number})
            (letter,) = await soon(letters_of(broker, "app.work"))
            assert json.loads(letter.payload) == {"number": number}
        assert await broker.depth(inbox("app.work")) == 0
        again = (await rabbitmq.queues(vhost))[queue.name]
        assert (again["type"], again["arguments"]) == (made["type"], made["arguments"])
    assert runs == [0, 1]
