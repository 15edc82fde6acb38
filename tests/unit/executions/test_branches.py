"""Contexts within a context, one after another and side by side."""

import asyncio

from eventmesh import (
    DurableContext,
    FunctionError,
    Service,
)
from eventmesh.testing import TestMesh


async def test_branches_run_side_by_side_and_each_goes_on_by_itself(shop: Service) -> None:
    done: list[str] = []

    async def branch(ctx: DurableContext, name: str) -> str:
        await ctx.wait(60 if name == "slow" else 10)
        await ctx.step(done.append, name, name="note")
        return name

    results: list[list[str]] = []

    @shop.function(durable=True)
    async def ship(ctx: DurableContext) -> None:
        results.append(await ctx.map(["slow", "quick"], branch))
        await ctx.wait(1)

    async with TestMesh(shop) as mesh:
        await mesh.send(ship)
        await mesh.settle()
        await mesh.advance(10)
        assert done == ["quick"]
        await mesh.advance(50)
        assert done == ["quick", "slow"]
        await mesh.advance(1)
    assert results == [["slow", "quick"]] * 2


async def test_the_first_error_of_the_branches_is_raised_when_all_have_ended(
    shop: Service,
) -> None:
    done: list[str] = []

    async def fail(ctx: DurableContext) -> None:
        raise ValueError("bad")

    async def wait(ctx: DurableContext) -> None:
        await ctx.wait(5)
        await ctx.step(done.append, "waited", name="note")

    errors: list[str] = []

    @shop.function(durable=True)
    async def ship(ctx: DurableContext) -> None:
        try:
            await ctx.parallel(fail, wait, fail)
        except FunctionError as error:
            errors.append(str(error))

    async with TestMesh(shop) as mesh:
        await mesh.send(ship)
        await mesh.advance(5)
    assert done == ["waited"]
    assert errors == ["ValueError: bad"]


async def test_branches_run_so_many_at_once(shop: Service) -> None:
    running: list[int] = []
    most: list[int] = []

    async def work(ctx: DurableContext, item: int) -> int:
        async def step() -> None:
            running.append(item)
            most.append(len(running))
            await asyncio.sleep(0)
            running.remove(item)

        await ctx.step(step)
        return item

    @shop.function(durable=True)
    async def ship(ctx: DurableContext) -> list[int]:
        return await ctx.map(range(6), work, max_concurrency=2)

    async with TestMesh(shop) as mesh:
        assert await mesh.invoke(ship) == [0, 1, 2, 3, 4, 5]
    assert max(most) <= 2


async def test_a_child_is_recorded_as_one(shop: Service) -> None:
    runs: list[str] = []

    async def pack(ctx: DurableContext) -> int:
        runs.append("pack")
        return await ctx.step(lambda: 7, name="count")

    @shop.function(durable=True)
    async def ship(ctx: DurableContext) -> None:
        runs.append(str(await ctx.child(pack)))
        await ctx.wait(1)

    async with TestMesh(shop) as mesh:
        await mesh.send(ship)
        await mesh.advance(1)
    assert runs == ["pack", "7", "7"]


async def test_tasks_that_the_code_makes_itself_may_wait_too(shop: Service) -> None:
    done: list[str] = []

    @shop.function(durable=True)
    async def ship(ctx: DurableContext) -> None:
        await asyncio.gather(ctx.wait(10), ctx.wait(20))
        await ctx.step(done.append, "both", name="note")

    async with TestMesh(shop) as mesh:
        await mesh.send(ship)
        await mesh.settle()
        await mesh.advance(10)
        assert done == []
        await mesh.advance(10)
        assert done == ["both"]
