"""A client that reaches the mesh through its broker."""

import asyncio

import pytest
from waiting import PAUSE

from eventmesh import (
    Client,
    FunctionError,
    FunctionNotFound,
    PayloadTooLarge,
    Retry,
    Service,
    on,
)
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.host import host_services
from eventmesh.model.message import Message
from eventmesh.model.settings import Settings
from eventmesh.model.topology import named, to_queue


async def test_a_client_invokes_sends_emits_and_redrives(rabbitmq):
    url = await rabbitmq.new_virtual_host()
    app = Service("called")
    heard = asyncio.Queue()
    repaired = False

    @app.function
    async def double(number: int) -> int:
        return 2 * number

    @app.function(on.event("number.*"), retry=Retry(1))
    async def hear(number: int) -> None:
        if not repaired:
            raise ValueError("not yet")
        heard.put_nowait(number)

    async with (
        RabbitBroker(url) as broker,
        host_services([app], broker, Settings(grace=5), http=None),
        asyncio.timeout(60),
        Client(url) as client,
    ):
        assert await client.invoke(double, {"number": 21}) == 42
        with pytest.raises(FunctionNotFound):
            await client.invoke("called.nobody")
        with pytest.raises(FunctionError, match="not yet"):
            await client.invoke("called.hear", {"number": 0})
        await client.emit("number.seen", {"number": 1})
        while not await client.dead_letters.list("called.hear"):
            await asyncio.sleep(PAUSE)
        repaired = True
        await client.send("called.hear", {"number": 2})
        assert await heard.get() == 2
        assert await client.dead_letters.redrive("called.hear") == 1
        assert await heard.get() == 1


async def test_a_result_that_the_broker_does_not_carry_is_told(rabbitmq):
    url = await rabbitmq.new_virtual_host()
    app = Service("large")

    @app.function(max_payload=32 * 1024 * 1024)
    async def copy() -> str:
        return "x" * 17 * 1024 * 1024

    async with (
        RabbitBroker(url) as broker,
        host_services([app], broker, Settings(grace=5), http=None),
        asyncio.timeout(60),
        Client(url) as client,
    ):
        with pytest.raises(PayloadTooLarge):
            await client.invoke(copy)


async def test_a_message_full_of_headers_is_dead_lettered_all_the_same(rabbitmq):
    url = await rabbitmq.new_virtual_host()
    app = Service("full")

    @app.function(on.queue("full"), retry=Retry(2, initial=0.1))
    async def fail() -> None:
        raise ValueError("ü" * 10_000)

    async with (
        RabbitBroker(url) as broker,
        host_services([app], broker, Settings(grace=5), http=None),
        asyncio.timeout(60),
    ):
        headers = {"large": "x" * 120 * 1024, "small": "y"}
        await broker.publish(to_queue(named("full")), Message(b"{}", "a", 1.0, headers=headers))
        letters = BrokerDeadLetters(broker, SystemClock())
        while not (found := await letters.list("full.fail")):
            await asyncio.sleep(PAUSE)
    assert found[0].headers == headers
    assert (found[0].attempts, found[0].error_type) == (2, "ValueError")
