"""A mesh inside a test: entering it, calls, settling, the clock."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest
from pydantic import BaseModel

from eventmesh import (
    Context,
    DeclarationError,
    FunctionNotFound,
    InvocationTimeout,
    Retry,
    Service,
    on,
)
from eventmesh.testing import TestMesh


class Order(BaseModel):
    item: str
    count: int = 1


async def test_a_call_has_the_handlers_result():
    shop = Service("shop")

    @shop.function
    async def place(order: Order) -> Order:
        return Order(item=order.item, count=order.count + 1)

    async with TestMesh(shop) as mesh:
        assert await mesh.invoke(place, Order(item="tea")) == Order(item="tea", count=2)
        assert await mesh.invoke("shop.place", {"item": "tea"}) == {"item": "tea", "count": 2}


async def test_an_unknown_function_is_one():
    async with TestMesh(Service("shop")) as mesh:
        with pytest.raises(FunctionNotFound, match=r"pricing\.quote"):
            await mesh.invoke("pricing.quote")


async def test_settling_waits_for_the_whole_cascade():
    shop, ended = Service("shop"), []

    @shop.function
    async def first(ctx: Context) -> None:
        await ctx.send("shop.second")
        ended.append("first")

    @shop.function
    async def second(ctx: Context) -> None:
        await ctx.emit("order.placed", {"item": "tea"})
        ended.append("second")

    @shop.function(on.event("order.*"))
    async def third(item: str, ctx: Context) -> None:
        ended.append(await ctx.invoke("shop.fourth", {"item": item}))

    @shop.function
    def fourth(item: str) -> str:
        return item.upper()

    async with TestMesh(shop) as mesh:
        await mesh.send(first)
        await mesh.settle()
        assert ended == ["first", "second", "TEA"]


async def test_settling_waits_for_threads():
    shop, entered, gate, ended = Service("shop"), asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    @shop.function
    def work() -> None:
        loop.call_soon_threadsafe(entered.set)
        assert gate.wait(60)
        ended.append("work")

    async with TestMesh(shop) as mesh, asyncio.TaskGroup() as tasks:
        await mesh.send(work)
        settling = tasks.create_task(mesh.settle())
        await entered.wait()
        assert not settling.done()
        gate.set()
        await settling
        assert ended == ["work"]


async def test_settling_waits_for_real_io():
    shop, asked, gate, ended = Service("shop"), asyncio.Event(), asyncio.Event(), []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await gate.wait()
        writer.write(b"42\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()

        @shop.function
        async def fetch() -> None:
            reader, writer = await asyncio.open_connection(host, port)
            ended.append(await reader.read())
            writer.close()
            await writer.wait_closed()

        async with TestMesh(shop) as mesh, asyncio.TaskGroup() as tasks:
            await mesh.send(fetch)
            settling = tasks.create_task(mesh.settle())
            await asked.wait()
            assert not settling.done()
            gate.set()
            await settling
            assert ended == [b"42\n"]


async def test_settling_does_not_wait_for_what_waits_for_the_clock():
    shop, ended = Service("shop"), []

    @shop.function(timeout="2m")
    async def slow() -> None:
        await mesh.sleep("1m")
        ended.append("slow")

    @shop.function(timeout="2m")
    async def caller(ctx: Context) -> None:
        await ctx.invoke(slow)
        ended.append("caller")

    @shop.function
    async def later() -> None:
        ended.append("later")

    async with TestMesh(shop) as mesh:
        await mesh.send(later, delay="1h")
        await mesh.send(caller)
        await mesh.settle()
        assert ended == []
        await mesh.advance("1h")
        assert ended == ["slow", "caller", "later"]


async def test_a_mesh_that_does_not_settle_says_what_runs():
    shop, called = Service("shop"), asyncio.Event()

    @shop.function
    async def hang() -> None:
        called.set()
        await asyncio.Event().wait()

    @shop.function
    async def caller(ctx: Context) -> None:
        await ctx.invoke(hang)

    async with TestMesh(shop, timeout="10ms") as mesh:
        await mesh.send(caller)
        await called.wait()
        running = (
            r"within 0.01 s of real time: shop\.caller \(attempt 1\) waits for shop\.hang; "
            r"shop\.hang \(attempt 1\) runs"
        )
        with pytest.raises(TimeoutError, match=running):
            await mesh.settle()
        with pytest.raises(TimeoutError, match=running):
            await mesh.advance("1s")
        with pytest.raises(TimeoutError, match=r"shop\.hang did not answer"):
            await mesh.invoke(hang)


async def test_a_timeout_of_the_handlers_own_stays_one():
    shop = Service("shop")

    @shop.function
    async def work() -> None:
        raise TimeoutError("of the database")

    async with TestMesh(shop, allow_failures=True) as mesh:
        await mesh.send(work)
        await mesh.advance("1h")
        assert [letter.error_type for letter in mesh.dead_letters] == ["TimeoutError"]


async def test_advancing_runs_everything_at_its_own_time():
    shop, happened = Service("shop"), []
    hourly = Retry(3, initial="1h", factor=1, maximum="1h", jitter="none", max_age="1d")

    @shop.function(retry=hourly)
    async def flaky(ctx: Context) -> None:
        happened.append(("flaky", mesh.now - start))
        if ctx.attempt == 1:
            await ctx.send(later, delay="30m")
        if ctx.attempt < 3:
            raise ConnectionError

    @shop.function
    def later() -> None:
        happened.append(("later", mesh.now - start))

    async with TestMesh(shop) as mesh:
        start = mesh.now
        await mesh.send(flaky)
        await mesh.advance("6h")
        assert mesh.now - start == timedelta(hours=6)
    assert happened == [
        ("flaky", timedelta()),
        ("later", timedelta(minutes=30)),
        ("flaky", timedelta(hours=1)),
        ("flaky", timedelta(hours=2)),
    ]


async def test_timers_fire_when_the_clock_gets_there():
    shop, runs = Service("shop"), []

    @shop.function(on.cron("0 3 * * MON", tz="Europe/Berlin"))
    async def weekly() -> None:
        runs.append(mesh.now)

    async with TestMesh(shop, start=datetime(2026, 3, 20, tzinfo=UTC)) as mesh:
        await mesh.advance("14d")
        summer_time = [datetime(2026, 3, 23, 2, tzinfo=UTC), datetime(2026, 3, 30, 1, tzinfo=UTC)]
        assert runs == summer_time
        assert [(fired.function, fired.scheduled) for fired in mesh.fired] == [
            ("shop.weekly", moment) for moment in summer_time
        ]


async def test_a_timeout_passes_on_the_meshs_clock():
    shop = Service("shop")

    @shop.function(timeout="5s")
    async def slow() -> None:
        await mesh.sleep("1h")

    async def expect_timeout():
        with pytest.raises(InvocationTimeout):
            await mesh.invoke(slow)

    async with TestMesh(shop) as mesh, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(expect_timeout())
        await mesh.advance("4s")
        assert not waiting.done()
        await mesh.advance("1s")
        assert waiting.done()


async def test_a_patched_sleep_waits_for_the_clock(monkeypatch):
    shop, ended = Service("shop"), []

    @shop.function
    async def slow() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(20)
        ended.append(mesh.now)

    async with TestMesh(shop) as mesh:
        monkeypatch.setattr(asyncio, "sleep", mesh.sleep)
        due = mesh.now + timedelta(seconds=20)
        await mesh.send(slow)
        await mesh.advance("1m")
        assert ended == [due]


async def test_entering_raises_what_is_wrong_as_it_is():
    shop = Service("shop")

    @shop.resource
    class Database:
        async def __aenter__(self) -> Self:
            raise ConnectionError("no database")

        async def __aexit__(self, *_: object) -> None: ...

    with pytest.raises(ConnectionError, match="no database"):
        await TestMesh(shop).__aenter__()
    with pytest.raises(DeclarationError, match="two services"):
        await TestMesh(Service("shop"), Service("shop")).__aenter__()


async def test_a_mesh_that_does_not_start_says_so(monkeypatch):
    monkeypatch.setattr("eventmesh.testing.mesh.START_STOP_LIMIT", 0.01)
    shop = Service("shop")

    @shop.resource
    class Database:
        async def __aenter__(self) -> Self:
            await asyncio.Event().wait()
            return self

        async def __aexit__(self, *_: object) -> None: ...

    with pytest.raises(TimeoutError, match="the mesh did not start"):
        await TestMesh(shop).__aenter__()


async def test_a_task_that_a_handler_left_behind_is_not_waited_for():
    shop, tasks, gate = Service("shop"), asyncio.TaskGroup(), asyncio.Event()

    @shop.function
    async def start(ctx: Context) -> None:
        tasks.create_task(leftover(ctx))

    async def leftover(ctx: Context) -> None:
        await gate.wait()
        await ctx.invoke("pricing.quote", timeout="1h")
        await mesh.sleep("1h")

    async with TestMesh(shop, stubs={"pricing.quote": 5}) as mesh, tasks:
        await mesh.send(start)
        await mesh.settle()
        assert mesh.invoked == []
        gate.set()
        await mesh.advance("1h")
        assert [call.function for call in mesh.invoked] == ["pricing.quote"]


async def test_the_clock_begins_where_it_is_told():
    async with TestMesh(start=datetime(2030, 1, 1, tzinfo=UTC)) as mesh:
        assert mesh.now == datetime(2030, 1, 1, tzinfo=UTC)
        await mesh.advance(timedelta(days=1))
        assert mesh.now == datetime(2030, 1, 2, tzinfo=UTC)
    async with TestMesh(start="2030-01-01T01:00+01:00") as mesh:
        assert mesh.now == datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(DeclarationError, match="start"):
        TestMesh(start="2030-01-01T00:00")


async def test_a_mesh_without_http_has_no_url():
    async with TestMesh() as mesh:
        with pytest.raises(RuntimeError, match="http=True"):
            _ = mesh.url
