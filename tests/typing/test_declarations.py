"""What type checkers know of declared functions: mypy and pyright read this, pytest does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Self, assert_type

from pydantic import BaseModel

from eventmesh import Client, Context, Event, Function, Response, Retry, Service, on
from eventmesh.auth import Anyone, ApiKeys, Authorizer, HttpRequest, Identity, Jwt


class Order(BaseModel):
    item: str


class Receipt(BaseModel):
    total: int


app = Service("app")


@app.resource
class Pool:
    size: int = 3

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@app.resource
async def numbers(pool: Pool) -> AsyncIterator[list[int]]:
    yield [pool.size]


@app.function
async def bare(order: Order) -> Receipt:
    return Receipt(total=len(order.item))


@app.function(on.post("/orders"), timeout="5s", retry=Retry(2), on_success=bare)
async def place(order: Order, ctx: Context, pool: Pool, *, urgent: bool = False) -> Receipt:
    assert_type(await ctx.invoke(bare, order), Receipt)
    assert_type(await ctx.invoke("pricing.quote", order, returns=Receipt), Receipt)
    assert_type(await ctx.invoke("pricing.quote", order, returns=list[int]), list[int])
    assert_type(await ctx.invoke("pricing.quote", order), Any)
    assert_type(await ctx.invoke(plain), int)
    assert_type(await ctx.invoke(rows), list[Receipt])
    assert_type(await ctx.invoke(rows_in_threads), list[int])
    assert_type(await ctx.invoke(answer), Response)
    assert_type(await ctx.invoke(nothing), None)
    assert_type(await ctx.send(bare, order, delay="5m"), str)
    assert_type(await ctx.send("mailer.send", order), str)
    assert_type(await ctx.emit("order.placed", order), str)
    return Receipt(total=pool.size + urgent)


@app.function(concurrency=2)
def plain(a: int = 1, b: int = 2) -> int:
    return a + b


@app.function(on.get("/rows"))
async def rows(to: int) -> AsyncIterator[Receipt]:
    for total in range(to):
        yield Receipt(total=total)


@app.function
def rows_in_threads() -> Iterator[int]:
    yield 1


@app.function
async def answer() -> Response:
    return Response("text", content_type="text/plain")


@app.function(on.event("order.*"))
async def nothing(event: Event[Order]) -> None:
    assert_type(event.data, Order)


def other(order: Order) -> int:
    return len(order.item)


def declared() -> None:
    """A decorated function is a Function, and keeps its parameters and its result."""
    function: Function[[Order], Coroutine[Any, Any, Receipt]] = bare
    assert_type(function.full_name, str)
    assert_type(plain(), int)
    assert_type(plain(1, b=3), int)
    assert_type(rows(3), AsyncIterator[Receipt])
    assert_type(rows_in_threads(), Iterator[int])
    assert_type(app.function(other)(order=Order(item="tea")), int)
    assert_type(app.function(name="x")(other)(Order(item="tea")), int)
    plain("1")  # type: ignore[arg-type]
    plain(c=1)  # type: ignore[call-arg]
    rows()  # type: ignore[call-arg]


async def called(ctx: Context) -> None:
    """Called directly it is the plain function: a unit test is a call."""
    assert_type(await bare(Order(item="tea")), Receipt)
    assert_type(await place(Order(item="tea"), ctx, Pool(), urgent=True), Receipt)
    async for row in rows(3):
        assert_type(row, Receipt)


async def called_from_outside() -> None:
    """A client has the same types."""
    async with Client("http://127.0.0.1:8080") as client:
        assert_type(await client.invoke(bare, Order(item="tea")), Receipt)
        assert_type(await client.invoke(rows, {"to": 3}), list[Receipt])
        assert_type(await client.invoke("app.bare", returns=Receipt), Receipt)
        assert_type(await client.send(place, Order(item="tea")), str)


def refused() -> None:
    """What does not fit is seen by a type checker, too."""
    app.function(colour=3)  # type: ignore[call-overload]
    app.function(retry=3)  # type: ignore[call-overload]
    on.post("/", colour=3)  # type: ignore[call-arg]
    on.get("/", mode="later")  # type: ignore[arg-type]
    on.websocket("/")  # type: ignore[attr-defined]


def resources() -> None:
    """A resource stays what it is: a type to annotate with, or a generator function."""
    assert_type(Pool().size, int)
    assert_type(numbers(Pool()), AsyncIterator[list[int]])


async def _known(request: HttpRequest) -> Identity | None:
    return Identity("custom:ada", "custom") if request.headers.get("x-ada") else None


guarded = Service("guarded", auth=[ApiKeys("keys.toml"), Authorizer(_known, cache="1m")])


@guarded.function(
    on.get("/orders", auth=Jwt("https://id.example", "shop", "jwks.json", scopes=["read"])),
    on.post("/orders", auth=Anyone()),
    access="private",
    callers=["guarded.*"],
)
async def list_orders(identity: Identity, ctx: Context) -> str:
    assert_type(ctx.identity, Identity)
    assert_type(identity.principal, str)
    assert_type(identity.scopes, frozenset[str])
    return identity.principal
