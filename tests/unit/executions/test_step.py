"""Steps: run once, tried again later, and asked again."""

import pytest

from eventmesh import (
    DurableContext,
    FunctionError,
    Reject,
    Retry,
    RetryLater,
    Service,
)
from eventmesh.testing import TestMesh

ONCE = Retry(attempts=1)


async def test_a_step_is_tried_again_later(shop: Service) -> None:
    tries: list[int] = []

    def charge() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("away")
        if len(tries) == 2:
            raise RetryLater(after=3600)
        return "paid"

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> str:
        return await ctx.step(charge, retry=Retry(attempts=5, initial=60, jitter="none"))

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.settle()
        assert len(tries) == 1
        await mesh.advance("60s")
        assert len(tries) == 2
        await mesh.advance("59m")
        assert len(tries) == 2
        await mesh.advance("1m")
        assert len(tries) == 3
        await mesh.advance("1d")
        assert len(tries) == 3


async def test_a_step_that_rejects_is_not_tried_again(shop: Service) -> None:
    tries: list[int] = []

    def charge() -> None:
        tries.append(1)
        raise Reject("a stolen card")

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        await ctx.step(charge)

    async with TestMesh(shop) as mesh:
        with pytest.raises(FunctionError, match="a stolen card"):
            await mesh.invoke(place)
    assert tries == [1]


async def test_the_code_gets_the_error_of_a_step_in_every_turn(shop: Service) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise LookupError("nothing there")

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        for _ in range(2):
            try:
                await ctx.step(fail, retry=ONCE)
            except FunctionError as error:
                seen.append(str(error))
            await ctx.wait(1)

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.advance(5)
        await mesh.advance(5)
    assert set(seen) == {"LookupError: nothing there"}
    assert len(seen) == 1 + 2 + 2


async def test_compensation_is_a_plain_try(shop: Service) -> None:
    done: list[str] = []

    def ship() -> None:
        raise RuntimeError("no van")

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> str:
        await ctx.step(done.append, "charge", name="charge")
        try:
            await ctx.step(ship, retry=ONCE)
        except FunctionError:
            await ctx.step(done.append, "refund", name="refund")
            return "refunded"
        return "shipped"

    async with TestMesh(shop) as mesh:
        assert await mesh.invoke(place) == "refunded"
    assert done == ["charge", "refund"]


async def test_a_condition_is_asked_until_it_holds(shop: Service) -> None:
    asked: list[int] = []

    def arrived() -> int | None:
        asked.append(1)
        return 42 if len(asked) == 3 else None

    found: list[int | None] = []

    @shop.function(durable=True)
    async def track(ctx: DurableContext) -> None:
        found.append(await ctx.wait_until(arrived, every="1h"))

    async with TestMesh(shop) as mesh:
        await mesh.send(track)
        await mesh.advance("59m")
        assert len(asked) == 1
        await mesh.advance("1h")
        assert len(asked) == 2
        await mesh.advance("1h")
    assert found == [42]
