"""A database that is away: at the start, in between, and while messages wait in it."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest
from tcp_proxy import proxying

from eventmesh import Context, Service, StoreUnavailable


@pytest.fixture
def store_url(postgres_url):
    return postgres_url


@pytest.fixture
async def proxy(postgres_url):
    async with proxying(postgres_url) as proxy:
        yield proxy


def build_service(runs):
    service = Service("orders")

    @service.function
    async def place(ctx: Context) -> None:
        runs.append(ctx.attempt)
        async with ctx.transaction():
            await ctx.emit("order.placed")

    return service


async def test_the_start_waits_for_the_database(hosting, proxy, postgres_url, soon, caplog):
    runs = []
    started = asyncio.Event()
    await proxy.refuse()

    async def serve():
        async with hosting(build_service(runs), url=proxy.url(postgres_url)) as host:
            started.set()
            await host.caller.invoke("orders.place")

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        with caplog.at_level(logging.WARNING):
            await soon(wait_for_log(caplog, "the start waits"))
        assert not started.is_set()
        await proxy.forward()
        await soon(serving)
    assert runs == [1]


async def test_a_database_that_is_away_for_a_while_spends_no_attempt(
    hosting, proxy, postgres_url, query, eventually, until
):
    runs = []
    async with hosting(build_service(runs), url=proxy.url(postgres_url)) as host:
        await host.caller.invoke("orders.place")
        await proxy.refuse()
        proxy.reset()
        with pytest.raises(StoreUnavailable, match=r"cannot be used now .*tried again"):
            await host.caller.invoke("orders.place")
        await until(host.stores.check)
        await host.caller.send("orders.place", id="one")
        await until(lambda: len(runs) >= 4)
        await proxy.forward()

        async def marks():
            return await query("SELECT id FROM eventmesh_inbox")

        await eventually(marks, [("one",)])
        assert set(runs) == {1}
        await until(lambda: not host.stores.check())


async def test_no_error_shows_the_password(hosting, proxy, postgres_url, caplog, soon):
    async def start():
        async with hosting(build_service([]), url=url):
            pass

    secret = urlsplit(postgres_url).password
    url = proxy.url(postgres_url)
    await proxy.refuse()
    with caplog.at_level(logging.DEBUG):
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(start())
            await soon(wait_for_log(caplog, "the start waits"))
            starting.cancel()
    assert secret
    assert secret not in caplog.text


async def wait_for_log(caplog, text):
    while text not in caplog.text:
        await asyncio.sleep(0.01)
