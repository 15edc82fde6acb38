"""What the code of a durable function does once, over days of a test's clock."""

from pathlib import Path

import pytest

from eventmesh import (
    Context,
    DurableContext,
    FunctionError,
    InvocationTimeout,
    Service,
    StoreUnavailable,
    on,
)
from eventmesh.testing import TestMesh


async def test_a_caller_gets_what_the_steps_made(shop: Service) -> None:
    calls: list[int] = []

    async def double(number: int) -> int:
        calls.append(number)
        return number * 2

    @shop.function(durable=True)
    async def place(number: int, ctx: DurableContext) -> int:
        return await ctx.step(double, number) + await ctx.step(double, 10)

    async with TestMesh(shop) as mesh:
        assert await mesh.invoke(place, {"number": 4}) == 28
    assert calls == [4, 10]


async def test_a_wait_of_a_month_takes_no_time(shop: Service) -> None:
    calls: list[str] = []

    @shop.function(on.event("order.placed"), durable=True)
    async def remind(ctx: DurableContext) -> None:
        await ctx.step(lambda: calls.append("first"), name="first")
        await ctx.wait("30d")
        await ctx.step(lambda: calls.append("second"), name="second")

    async with TestMesh(shop) as mesh:
        await mesh.emit("order.placed", {})
        await mesh.settle()
        assert calls == ["first"]
        await mesh.advance("29d")
        assert calls == ["first"]
        await mesh.advance("1d")
        assert calls == ["first", "second"]


async def test_a_result_is_of_the_type_that_its_step_says_in_every_turn(shop: Service) -> None:
    seen: list[object] = []

    def find() -> set[int]:
        return {1, 2}

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        seen.append(await ctx.step(find))
        await ctx.wait(1)

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.advance(1)
    assert seen == [{1, 2}, {1, 2}]


async def test_another_function_is_invoked_once(shop: Service) -> None:
    calls: list[int] = []

    @shop.function
    async def plain(number: int) -> int:
        calls.append(number)
        return number + 1

    @shop.function(durable=True)
    async def inner(number: int, ctx: DurableContext) -> int:
        await ctx.wait("1h")
        return number * 10

    @shop.function(durable=True)
    async def outer(ctx: DurableContext) -> int:
        first = await ctx.invoke(plain, {"number": 1})
        return first + await ctx.invoke(inner, {"number": 5})

    results: list[int] = []

    @shop.function(durable=True)
    async def top(ctx: DurableContext) -> None:
        results.append(await ctx.invoke(outer))

    async with TestMesh(shop) as mesh:
        await mesh.send(top)
        await mesh.advance("2h")
    assert calls == [1]
    assert results == [52]


async def test_the_error_of_another_function_is_raised(shop: Service) -> None:
    @shop.function
    async def plain() -> None:
        raise LookupError("nothing there")

    @shop.function(durable=True)
    async def inner(ctx: DurableContext) -> None:
        await ctx.wait(1)
        raise LookupError("nothing here")

    errors: list[str] = []

    @shop.function(durable=True)
    async def outer(ctx: DurableContext) -> None:
        for function in (plain, inner):
            try:
                await ctx.invoke(function)
            except FunctionError as error:
                errors.append(str(error))

    async with TestMesh(shop, allow_failures=True) as mesh:
        await mesh.send(outer)
        await mesh.advance(2)
    assert errors[-2:] == ["LookupError: nothing there", "LookupError: nothing here"]


async def test_a_function_whose_database_is_away_is_invoked_again(shop: Service) -> None:
    calls: list[str] = []

    async def ship(ctx: Context) -> str:
        calls.append(ctx.id)
        if len(calls) < 20:
            raise StoreUnavailable("the database is away")
        return "shipped"

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        calls.append(await ctx.invoke("depot.ship", {}, returns=str))

    async with TestMesh(shop, stubs={"depot.ship": ship}, allow_failures=True) as mesh:
        await mesh.send(place)
        await mesh.advance("10m")
    assert calls[20:] == ["shipped"]


async def test_messages_are_sent_once_with_an_id_that_stays(shop: Service) -> None:
    ids: list[str] = []
    got: list[str] = []

    @shop.function
    async def mail(text: str) -> None:
        got.append(text)

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        ids.append(await ctx.send(mail, {"text": "thanks"}))
        ids.append(await ctx.emit("order.placed", {"id": 7}))
        await ctx.wait(1)

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.advance(1)
        assert [event.type for event in mesh.emitted] == ["order.placed"]
    assert got == ["thanks"]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


async def test_an_execution_times_out(shop: Service) -> None:
    done: list[str] = []

    @shop.function(durable=True, execution_timeout="1h")
    async def wait(ctx: DurableContext) -> None:
        await ctx.wait("2h")
        done.append("too late")

    @shop.function(durable=True)
    async def outer(ctx: DurableContext) -> None:
        try:
            await ctx.invoke(wait)
        except InvocationTimeout:
            done.append("timed out")

    async with TestMesh(shop) as mesh:
        await mesh.send(outer)
        await mesh.advance("1h")
        await mesh.advance("2h")
    assert done == ["timed out"]


async def test_code_that_asks_for_something_else_fails_and_says_where(shop: Service) -> None:
    turns: list[int] = []

    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        turns.append(1)
        if len(turns) == 1:
            await ctx.wait(1, name="pause")
        await ctx.step(lambda: None, name="charge")

    messages: list[str] = []

    @shop.function(durable=True)
    async def outer(ctx: DurableContext) -> None:
        try:
            await ctx.invoke(place)
        except FunctionError as error:
            messages.append(str(error))

    async with TestMesh(shop) as mesh:
        await mesh.send(outer)
        await mesh.advance(3)
    (message,) = messages
    assert "shop.place has changed since this execution began" in message
    assert "it asks for the STEP 'charge', and it did the WAIT 'pause' there before" in message
    assert f"{Path(__file__).name}:" in message


async def test_a_transaction_of_the_code_itself_is_refused(shop: Service) -> None:
    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        async with ctx.transaction():
            raise AssertionError

    async with TestMesh(shop) as mesh:
        with pytest.raises(FunctionError, match="change the database in a step"):
            await mesh.invoke(place)


async def test_an_invoke_takes_no_timeout(shop: Service) -> None:
    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        await ctx.invoke("shop.other", timeout=5)

    async with TestMesh(shop) as mesh:
        with pytest.raises(FunctionError, match="takes no timeout="):
            await mesh.invoke(place)


async def test_a_payload_that_does_not_fit_fails_the_execution(shop: Service) -> None:
    @shop.function(durable=True)
    async def place(number: int, ctx: DurableContext) -> None:
        raise AssertionError

    async with TestMesh(shop) as mesh:
        with pytest.raises(FunctionError, match="PayloadInvalid"):
            await mesh.invoke(place, {"number": "x"})
