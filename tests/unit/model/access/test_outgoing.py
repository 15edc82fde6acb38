"""What a service may call and emit, as its code declares it."""

import pytest

from eventmesh import Context, DeclarationError, FunctionError, Service
from eventmesh.testing import TestMesh


@pytest.fixture
def shop():
    """Two services: `orders` declares what it calls and emits."""
    stock, orders = (
        Service("stock"),
        Service("orders", calls=["stock.reserve", "queue:mail"], emits=["order.placed"]),
    )

    @stock.function
    async def reserve(n: int = 1) -> int:
        return n

    @stock.function
    async def secret() -> int:
        return 42

    @orders.function
    async def ask(ctx: Context, what: str) -> int:
        return await ctx.invoke(what, returns=int)

    @orders.function
    async def store(ctx: Context, what: str) -> str:
        return await ctx.send(what)

    @orders.function
    async def tell(ctx: Context, what: str) -> str:
        return await ctx.emit(what)

    @orders.function
    async def mine() -> int:
        return 1

    return stock, orders


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("ask", "stock.reserve"),
        ("ask", "orders.mine"),
        ("store", "stock.reserve"),
        ("tell", "order.placed"),
        ("store", "event:order.placed"),
    ],
)
async def test_declared_is_allowed(shop, function, what):
    async with TestMesh(*shop) as mesh:
        assert await mesh.invoke(f"orders.{function}", {"what": what})


@pytest.mark.parametrize(
    ("function", "what", "option"),
    [
        ("ask", "stock.secret", "calls"),
        ("store", "stock.secret", "calls"),
        ("store", "queue:money", "calls"),
        ("tell", "order.refunded", "emits"),
        ("store", "event:order.refunded", "emits"),
    ],
)
async def test_more_is_denied_with_advice(shop, function, what, option):
    async with TestMesh(*shop) as mesh:
        with pytest.raises(
            FunctionError, match=rf"AccessDenied.*add it to Service\('orders', {option}="
        ):
            await mesh.invoke(f"orders.{function}", {"what": what})


async def test_all_functions_of_a_service(shop):
    orders = Service("bills", calls=["stock.*"])

    @orders.function
    async def ask(ctx: Context) -> int:
        return await ctx.invoke("stock.secret", returns=int)

    async with TestMesh(shop[0], orders) as mesh:
        assert await mesh.invoke("bills.ask") == 42


async def test_functions_are_named_by_themselves(shop):
    function = shop[0].functions["reserve"]
    assert Service("x", calls=[function]).outgoing.calls == ("stock.reserve",)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"calls": "stock.reserve"}, "is no list"),
        ({"calls": ["reserve"]}, "not a function name"),
        ({"calls": ["event:a.b"]}, "emits="),
        ({"calls": [3]}, "write functions"),
        ({"calls": ["queue:em.inbox.stock.reserve"]}, "choose another name"),
        ({"emits": ["order.*"]}, "without wildcards"),
        ({"emits": 3}, "is no list"),
    ],
)
async def test_wrong_declarations(options, advice):
    with pytest.raises(DeclarationError, match=advice):
        Service("orders", **options)
