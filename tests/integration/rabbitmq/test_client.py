"""A client that reaches the mesh through its broker."""

import asyncio

import pytest

from eventmesh import Client, FunctionError, FunctionNotFound, Retry, Service, on
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.host import hosting
from eventmesh.settings import Settings


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
        hosting([app], broker, Settings(grace=5), http=False),
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
            await asyncio.sleep(0)
        repaired = True
        await client.send("called.hear", {"number": 2})
        assert await heard.get() == 2
        assert await client.dead_letters.redrive("called.hear") == 1
        assert await heard.get() == 1
