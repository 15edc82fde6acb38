"""Executions sleep until an event comes that fits."""

from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from eventmesh import (
    DeclarationError,
    DurableContext,
    Event,
    FunctionError,
    InvocationTimeout,
    PayloadInvalid,
    Service,
    on,
)
from eventmesh.executions.events import delivery
from eventmesh.testing import TestMesh

PAID = "payment.received"
PAYMENTS = on.event("payment.*", starts=False)


class Payment(BaseModel):
    order: int
    total: int


@pytest.fixture
def got() -> list[object]:
    return []


@pytest.fixture
async def mesh(shop: Service, got: list[object]) -> AsyncIterator[TestMesh]:
    @shop.function(PAYMENTS, durable=True)
    async def place(order: int, ctx: DurableContext) -> None:
        payment = await ctx.wait_for_event(
            PAID, match={"order": order}, timeout="2d", returns=Payment
        )
        got.append((order, payment.total))

    async with TestMesh(shop) as mesh:
        yield mesh


async def pay(mesh: TestMesh, order: int, total: int = 10) -> None:
    await mesh.emit(PAID, {"order": order, "total": total})
    await mesh.settle()


async def test_an_execution_gets_the_event_that_fits(mesh: TestMesh, got: list[object]) -> None:
    for order in (1, 2):
        await mesh.send("shop.place", {"order": order})
    await pay(mesh, 3)
    await mesh.emit("payment.refused", {"order": 1, "total": 1})
    await mesh.emit(PAID, {"total": 10})
    await mesh.emit(PAID, "no object")
    await mesh.settle()
    assert got == []
    await pay(mesh, 2, 12)
    await pay(mesh, 2, 13)
    assert got == [(2, 12)]
    await mesh.advance("1d")
    await pay(mesh, 1)
    assert got == [(2, 12), (1, 10)]


async def test_all_that_wait_get_it_however_many(
    mesh: TestMesh, got: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MAX_DELIVERED", 2)
    for _ in range(5):
        await mesh.send("shop.place", {"order": 1})
    await mesh.settle()
    await pay(mesh, 1)
    assert got == [(1, 10)] * 5


async def test_what_does_not_come_in_time_is_told(shop: Service, got: list[object]) -> None:
    @shop.function(PAYMENTS, durable=True)
    async def place(ctx: DurableContext) -> None:
        try:
            await ctx.wait_for_event(PAID, timeout="1d")
        except InvocationTimeout as error:
            got.append(str(error))

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.advance("2d")
        await pay(mesh, 1)
    assert got == [f"no event '{PAID}' came within 86400 s"]


async def test_an_event_between_the_declaration_and_the_sleep_is_kept(
    shop: Service, got: list[object]
) -> None:
    @shop.function(PAYMENTS, durable=True)
    async def place(ctx: DurableContext) -> None:
        payment = await ctx.expect_event("payment.*", match={"order": 7}, returns=Event[Payment])
        await ctx.emit(PAID, {"order": 7, "total": 3}, subject="seven")
        await ctx.wait("1d")
        event = await payment.result()
        got.append((event.type, event.subject, event.data.total))

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.advance("1d")
    assert got == [(PAID, "seven", 3)]


async def test_one_event_ends_the_waits_of_all_branches(shop: Service, got: list[object]) -> None:
    async def one(ctx: DurableContext) -> object:
        return await ctx.wait_for_event("payment.*", subject="a")

    @shop.function(PAYMENTS, durable=True)
    async def place(ctx: DurableContext) -> None:
        await ctx.step(got.append, await ctx.parallel(one, one), name="note")
        got.append(await one(ctx))

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.settle()
        await mesh.emit(PAID, 1, subject="b")
        await mesh.emit(PAID, 2, subject="a", id="e1")
        await mesh.settle()
        # Delivered twice, it does not end the wait for the next one.
        await mesh.emit(PAID, 2, subject="a", id="e1")
        await mesh.settle()
        assert got == [[2, 2]]
        await mesh.emit(PAID, 3, subject="a", id="e2")
        await mesh.settle()
    assert got == [[2, 2], 3]


async def test_an_event_begins_executions_and_ends_waits(shop: Service, got: list[object]) -> None:
    shipments = on.event("order.shipped", starts=False)

    @shop.function(on.event("order.placed"), shipments, durable=True)
    async def follow(order: int, ctx: DurableContext) -> None:
        await ctx.step(got.append, order, name="note")
        got.append(await ctx.wait_for_event("order.shipped", match={"order": order}))

    async with TestMesh(shop) as mesh:
        await mesh.emit("order.placed", {"order": 1})
        await mesh.settle()
        await mesh.emit("order.shipped", {"order": 1})
        await mesh.settle()
    assert got == [1, {"order": 1}]


async def test_an_event_that_does_not_come_to_the_function_is_refused(shop: Service) -> None:
    @shop.function(PAYMENTS, durable=True)
    async def place(pattern: str, ctx: DurableContext) -> None:
        await ctx.wait_for_event(pattern)

    async with TestMesh(shop) as mesh:
        for pattern in ("order.placed", "payment.#", "*.received"):
            with pytest.raises(FunctionError, match=r"on\.event\('.*', starts=False\)"):
                await mesh.invoke(place, {"pattern": pattern})


async def test_data_that_does_not_fit_is_an_error(shop: Service, got: list[object]) -> None:
    @shop.function(PAYMENTS, durable=True)
    async def place(ctx: DurableContext) -> None:
        try:
            await ctx.wait_for_event(PAID, returns=Payment)
        except PayloadInvalid as error:
            got.append(error.errors[0]["loc"])

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.settle()
        await mesh.emit(PAID, {"order": 1, "total": "many"})
        await mesh.settle()
    assert got == [("total",)]


def test_only_a_durable_function_waits_for_events(shop: Service) -> None:
    with pytest.raises(DeclarationError, match="starts=False"):

        @shop.function(PAYMENTS)
        async def plain() -> None: ...
