"""Synchronous callers of durable functions, by a clock that the test moves."""

import asyncio

import aiohttp
import pytest

from eventmesh import BrokerUnavailable, DurableContext, InvocationTimeout, Service, on
from eventmesh.testing import TestMesh


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def shop(done: list[str]) -> Service:
    shop = Service("shop", store="sqlite:///:memory:")

    @shop.function(durable=True, timeout="1m")
    async def place(pause: str, ctx: DurableContext) -> str:
        await ctx.step(done.append, "charge", name="charge")
        await ctx.wait(pause)
        await ctx.step(done.append, "ship", name="ship")
        return "shipped"

    return shop


async def test_a_caller_who_waits_does_not_stop_the_clock(shop: Service, done: list[str]) -> None:
    async with TestMesh(shop, timeout=60) as mesh, asyncio.TaskGroup() as callers:
        calling = callers.create_task(mesh.invoke("shop.place", {"pause": "20s"}, timeout="1m"))
        await mesh.settle()
        assert done == ["charge"]
        await mesh.advance("25s")
        assert await calling == "shipped"
    assert done == ["charge", "ship"]


async def test_a_caller_gets_a_timeout_and_the_execution_goes_on(
    shop: Service, done: list[str]
) -> None:
    async with TestMesh(shop, timeout=60) as mesh:

        async def call() -> None:
            with pytest.raises(InvocationTimeout):
                await mesh.invoke("shop.place", {"pause": "30d"}, timeout="1m")

        async with asyncio.TaskGroup() as callers:
            callers.create_task(call())
            await mesh.settle()
            await mesh.advance("1m")
        await mesh.advance("30d")
    assert done == ["charge", "ship"]


@pytest.mark.parametrize("moment", ["during", "after"])
async def test_a_caller_whose_process_died_is_told_and_the_execution_goes_on(
    shop: Service, done: list[str], moment: str
) -> None:
    async with TestMesh(shop, timeout=60) as mesh:
        mesh.crash(**{moment: "charge"})
        with pytest.raises(BrokerUnavailable, match="the process died"):
            await mesh.invoke("shop.place", {"pause": "1d"})
        await mesh.advance("1d")
        await mesh.advance("1h")
    assert done[-1] == "ship"


async def test_a_caller_without_a_deadline_gets_the_end() -> None:
    shop = Service("shop", store="sqlite:///:memory:")

    @shop.function(on.post("/orders"), durable=True, timeout=None)
    async def place(ctx: DurableContext) -> str:
        return await ctx.step(lambda: "charged", name="charge")

    async def post(url: str) -> object:
        async with aiohttp.ClientSession(url) as client, client.post("/orders", json={}) as reply:
            return await reply.json()

    async with TestMesh(shop, timeout=60, http=True) as mesh, asyncio.timeout(60):
        async with asyncio.TaskGroup() as callers:
            posting = callers.create_task(post(mesh.url))
            # The mesh does not know of a request on its way.
            while not posting.done():
                await mesh.advance("1s")
        assert posting.result() == "charged"
