"""What type checkers know of a call: nothing here is run, mypy and pyright read it."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, assert_type

from eventmesh import Context, Service
from eventmesh.abc import Callee

shop = Service("shop")


@dataclass
class Order:
    sku: str


@dataclass
class Quote:
    total: int


@shop.function
async def quote(order: Order) -> Quote:
    return Quote(len(order.sku))


@shop.function(timeout=5)
async def forget(order: Order, ctx: Context) -> None:
    await ctx.send(quote, order)


@shop.function()
def count(orders: list[Order]) -> int:
    return len(orders)


@shop.function
async def untyped(order: Order) -> Any:
    return order


@shop.function
async def follow(order: Order) -> AsyncIterator[Quote]:
    yield await quote(order)


@shop.function
async def follow_closely(order: Order) -> AsyncGenerator[Quote, None]:
    yield await quote(order)


@shop.function
def pages() -> Iterator[bytes]:
    yield b""


async def the_result_is_what_the_handler_returns(ctx: Context) -> None:
    assert_type(await ctx.invoke(quote, Order("x")), Quote)
    assert_type(await ctx.invoke(count, [Order("x")]), int)
    assert_type(await ctx.invoke(untyped), Any)
    # A call that returns None must not be assigned; that it is one is all there is to know.
    await ctx.invoke(forget, Order("x"), timeout="5s", headers={"k": "v"})


async def what_it_yields_comes_as_a_list(ctx: Context) -> None:
    assert_type(await ctx.invoke(follow, Order("x")), list[Quote])
    assert_type(await ctx.invoke(follow_closely, Order("x")), list[Quote])
    assert_type(await ctx.invoke(pages), list[bytes])


async def a_name_says_nothing_of_its_result_but_returns_does(ctx: Context) -> None:
    assert_type(await ctx.invoke("shop.quote", Order("x")), Any)
    assert_type(await ctx.invoke("shop.quote", Order("x"), returns=Quote), Quote)
    assert_type(await ctx.invoke("shop.follow", returns=list[Quote]), list[Quote])
    assert_type(await ctx.invoke("shop.quote", returns=Quote, timeout=1), Quote)


async def an_id_comes_of_what_is_sent_or_emitted(ctx: Context) -> None:
    assert_type(await ctx.send(quote, Order("x"), delay="5s"), str)
    assert_type(await ctx.send("queue:orders", Order("x")), str)
    assert_type(await ctx.emit("order.placed", Order("x"), subject="7"), str)


async def a_declared_function_calls_like_the_plain_one() -> None:
    assert_type(await quote(Order("x")), Quote)
    assert_type(count([Order("x")]), int)
    await quote("x")  # type: ignore[arg-type]
    await quote()  # type: ignore[call-arg]


async def what_is_no_function_cannot_be_invoked(ctx: Context, known: Callee[[Order], int]) -> None:
    assert_type(await ctx.invoke(known, Order("x")), int)
    await ctx.invoke(7)  # type: ignore[call-overload]
    await ctx.invoke(len)  # type: ignore[call-overload]
    await ctx.invoke(quote, returns=Quote)  # type: ignore[call-overload]
    await ctx.send(7)  # type: ignore[arg-type]
