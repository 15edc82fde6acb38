"""Transactions on SQLite: effects, messages and marks together."""

from contextlib import suppress

import pytest
from sqlalchemy import text

from eventmesh import Context, FunctionError, Retry, Service, SettingsError, on
from eventmesh.testing import TestMesh

CREATE = "CREATE TABLE IF NOT EXISTS orders (id TEXT)"


def build_service(**options) -> Service:
    return Service("orders", store="sqlite:///:memory:", **options)


async def count(session) -> int:
    return (await session.execute(text("SELECT count(*) FROM orders"))).scalar_one()


async def insert(session, id: str) -> None:
    await session.execute(text(CREATE))
    await session.execute(text("INSERT INTO orders VALUES (:id)"), {"id": id})


async def test_commit_stores_effects_and_sends_messages() -> None:
    orders = build_service()

    @orders.function
    async def place(item: str, ctx: Context) -> int:
        async with ctx.transaction() as session:
            await insert(session, item)
            await ctx.emit("order.placed", {"item": item}, subject=item)
            await ctx.send("orders.receipt", {"item": item})
            assert mesh.emitted == []
            return await count(session)

    @orders.function
    async def receipt(item: str) -> None: ...

    async with TestMesh(orders) as mesh:
        assert await mesh.invoke(place, {"item": "tea"}) == 1
        await mesh.settle()
        assert [event.type for event in mesh.emitted] == ["order.placed"]
        assert [sent.function for sent in mesh.sent] == ["orders.receipt"]


async def test_rollback_changes_and_sends_nothing() -> None:
    orders = build_service()

    @orders.function
    async def place(item: str, ctx: Context) -> int:
        try:
            async with ctx.transaction() as session:
                await insert(session, item)
                await ctx.emit("order.placed", {"item": item})
                raise ValueError("no")
        except ValueError:
            pass
        return 1

    @orders.function
    async def number(ctx: Context) -> int:
        async with ctx.transaction() as session:
            await session.execute(text(CREATE))
            return await count(session)

    async with TestMesh(orders) as mesh:
        assert await mesh.invoke(place, {"item": "tea"}) == 1
        await mesh.settle()
        assert mesh.emitted == []
        assert await mesh.invoke(number) == 0


async def test_redelivery_of_what_is_done_is_not_run() -> None:
    orders = build_service()
    runs: list[str] = []

    @orders.function(retry=Retry(attempts=3, initial=1, jitter="none"))
    async def place(item: str, ctx: Context) -> None:
        runs.append(item)
        async with ctx.transaction():
            pass
        raise ValueError("after the commit")

    async with TestMesh(orders) as mesh:
        await mesh.send(place, {"item": "tea"})
        await mesh.settle()
        await mesh.advance("1m")
        assert runs == ["tea"]
        assert mesh.dead_letters == []


async def test_same_id_twice_changes_once() -> None:
    orders = build_service()
    numbers: list[int] = []

    @orders.function
    async def place(item: str, ctx: Context) -> None:
        async with ctx.transaction() as session:
            await insert(session, item)
            numbers.append(await count(session))

    async with TestMesh(orders) as mesh:
        await mesh.send(place, {"item": "tea"}, id="one")
        await mesh.send(place, {"item": "tea"}, id="one")
        await mesh.settle()
        assert numbers == [1]


async def test_delay_counts_from_the_commit() -> None:
    orders = build_service()

    @orders.function
    async def place(ctx: Context) -> None:
        async with ctx.transaction():
            await ctx.send("orders.remind", delay=60)

    reminded: list[float] = []

    @orders.function
    async def remind(ctx: Context) -> None:
        reminded.append(ctx.now.timestamp())

    async with TestMesh(orders) as mesh:
        begun = mesh.now.timestamp()
        await mesh.invoke(place)
        await mesh.settle()
        await mesh.advance(59)
        assert reminded == []
        await mesh.advance(1)
        assert reminded == [begun + 60]


async def test_second_transaction_is_refused() -> None:
    orders = build_service()

    @orders.function
    async def place(ctx: Context) -> None:
        async with ctx.transaction():
            pass
        with pytest.raises(SettingsError, match="has had its transaction"):
            async with ctx.transaction():
                pass

    async with TestMesh(orders) as mesh:
        await mesh.invoke(place)


async def test_service_without_a_store_says_what_to_do() -> None:
    orders = Service("orders")

    @orders.function
    async def place(ctx: Context) -> None:
        with pytest.raises(SettingsError, match="EVENTMESH_STORE"):
            async with ctx.transaction():
                pass

    async with TestMesh(orders) as mesh:
        await mesh.invoke(place)


async def test_commit_of_the_session_commits_nothing_by_itself() -> None:
    orders = build_service()

    @orders.function
    async def place(ctx: Context) -> None:
        with suppress(ValueError):
            async with ctx.transaction() as session:
                await insert(session, "tea")
                await session.commit()
                raise ValueError

    @orders.function
    async def number(ctx: Context) -> int:
        async with ctx.transaction() as session:
            await session.execute(text(CREATE))
            return await count(session)

    async with TestMesh(orders) as mesh:
        await mesh.invoke(place)
        assert await mesh.invoke(number) == 0


async def test_rollback_of_the_session_is_an_error_at_the_end() -> None:
    orders = build_service()

    @orders.function
    async def place(ctx: Context) -> None:
        async with ctx.transaction() as session:
            await ctx.emit("order.placed")
            await session.rollback()

    async with TestMesh(orders) as mesh:
        with pytest.raises(FunctionError, match="rolled back inside its block"):
            await mesh.invoke(place)
        await mesh.settle()
        assert mesh.emitted == []


async def test_batch_skips_the_items_that_are_done() -> None:
    orders = build_service()
    runs: list[list[str]] = []

    @orders.function(
        on.queue("lines", batch=10, batch_window=1), retry=Retry(attempts=3, initial=1)
    )
    async def book(lines: list[str], ctx: Context) -> None:
        runs.append(lines)
        async with ctx.transaction() as session:
            for line in lines:
                await insert(session, line)

    async with TestMesh(orders) as mesh:
        await mesh.send("queue:lines", "a", id="1")
        await mesh.settle()
        await mesh.advance(1)
        for id, line in (("1", "a"), ("2", "b"), ("2", "b"), ("3", "c")):
            await mesh.send("queue:lines", line, id=id)
        await mesh.settle()
        await mesh.advance(1)
        assert runs[0] == ["a"]
        assert runs[-1] == ["b", "c"]
        assert mesh.dead_letters == []
