"""Stand-ins for functions and resources."""

from collections.abc import AsyncIterator
from unittest.mock import AsyncMock, Mock

import pytest
from pydantic import BaseModel

from eventmesh import (
    Context,
    DeclarationError,
    FunctionError,
    InvocationTimeout,
    PayloadInvalid,
    Reject,
    Retry,
    Service,
    Throttled,
    on,
)
from eventmesh.testing import TestMesh


class Order(BaseModel):
    item: str
    count: int = 1


@pytest.mark.parametrize(
    "stub",
    [
        8,
        lambda order: order["count"] * 2,
        Mock(return_value=8),
        AsyncMock(return_value=8),
    ],
    ids=["value", "lambda", "Mock", "AsyncMock"],
)
async def test_what_can_stand_in(stub):
    async with TestMesh(stubs={"pricing.quote": stub}) as mesh:
        assert await mesh.invoke("pricing.quote", Order(item="tea", count=4)) == 8


async def test_a_mock_knows_what_it_was_called_with():
    quote = AsyncMock(return_value=8)
    async with TestMesh(stubs={"pricing.quote": quote}) as mesh:
        await mesh.invoke("pricing.quote", Order(item="tea"))
    quote.assert_awaited_once_with({"item": "tea", "count": 1})


async def test_a_stub_has_the_payload_bound_like_any_function():
    async def quote(order: Order, ctx: Context) -> str:
        return f"{order.item} for {ctx.caller or 'the test'}"

    async with TestMesh(stubs={"pricing.quote": quote}) as mesh:
        assert await mesh.invoke("pricing.quote", {"item": "tea"}) == "tea for the test"
        with pytest.raises(PayloadInvalid):
            await mesh.invoke("pricing.quote", {"count": 1})


@pytest.mark.parametrize(
    "error", [Throttled("too many", 5.0), InvocationTimeout("too slow")], ids=repr
)
async def test_an_error_of_the_mesh_reaches_the_caller_as_it_is(error):
    async with TestMesh(stubs={"pricing.quote": error}) as mesh:
        with pytest.raises(type(error), match=str(error)):
            await mesh.invoke("pricing.quote")


async def test_any_other_exception_is_how_the_function_fails():
    async with TestMesh(stubs={"pricing.quote": ZeroDivisionError("no price")}) as mesh:
        with pytest.raises(FunctionError, match="no price") as raised:
            await mesh.invoke("pricing.quote")
    assert raised.value.type == "ZeroDivisionError"


async def test_a_signal_steers_the_settlement():
    stubs = {"mailer.receipt": Reject("no address")}
    async with TestMesh(stubs=stubs, allow_failures=True) as mesh:
        await mesh.send("mailer.receipt", {"to": "nobody"})
        await mesh.settle()
        (letter,) = mesh.dead_letters
        assert (letter.reason, letter.json) == ("no address", {"to": "nobody"})


async def test_stubs_of_one_service_stand_beside_each_other():
    async with TestMesh(stubs={"pricing.quote": 1, "pricing.discount": 2}) as mesh:
        assert await mesh.invoke("pricing.quote") == 1
        assert await mesh.invoke("pricing.discount") == 2


async def test_a_function_object_names_what_is_replaced():
    pricing = Service("pricing")

    @pricing.function
    async def quote(order: Order) -> int:
        return order.count

    async with TestMesh(stubs={quote: 42}) as mesh:
        assert await mesh.invoke(quote, Order(item="tea")) == 42


async def test_a_stub_for_a_function_of_a_tested_service_takes_its_place_and_triggers():
    shop, taken = Service("shop"), []

    @shop.function(on.event("order.placed"))
    async def reserve(order: Order) -> None:
        pytest.fail("it was replaced")

    @shop.function
    async def other() -> str:
        return "still here"

    async with TestMesh(shop, stubs={reserve: taken.append}) as mesh:
        await mesh.emit("order.placed", Order(item="tea"))
        await mesh.settle()
        assert await mesh.invoke(other) == "still here"
    assert taken == [{"item": "tea", "count": 1}]
    assert shop.functions["reserve"] is reserve


async def test_a_stub_for_nothing_is_refused():
    shop = Service("shop")

    @shop.function
    async def place() -> None: ...

    with pytest.raises(DeclarationError, match=r"no 'shop\.plaec'.*shop.*are place"):
        TestMesh(shop, stubs={"shop.plaec": 1})
    with pytest.raises(DeclarationError, match=r"service\.function"):
        TestMesh(shop, stubs={"quote": 1})


class Database:
    def __init__(self, name: str) -> None:
        self.name = name


class Repository(BaseModel):
    database: str


def service_with_resources(opened: list[str]) -> Service:
    shop = Service("shop")

    @shop.resource
    async def database() -> AsyncIterator[Database]:
        opened.append("database")
        yield Database("real")

    @shop.resource
    async def repository(database: Database) -> AsyncIterator[Repository]:
        opened.append("repository")
        yield Repository(database=database.name)

    @shop.function
    async def where(database: Database, repository: Repository) -> list[str]:
        return [database.name, repository.database]

    return shop


async def test_a_replaced_resource_is_not_opened_and_others_get_it():
    opened: list[str] = []
    shop = service_with_resources(opened)
    async with TestMesh(shop, resources={Database: Database("fake")}) as mesh:
        assert await mesh.invoke("shop.where") == ["fake", "fake"]
    assert opened == ["repository"]
    async with TestMesh(shop) as mesh:
        assert await mesh.invoke("shop.where") == ["real", "real"]


async def test_a_resource_that_nobody_declared_is_refused():
    with pytest.raises(DeclarationError, match="which have Database, Repository"):
        TestMesh(service_with_resources([]), resources={Order: object()})
    with pytest.raises(DeclarationError, match="which have none"):
        TestMesh(Service("shop"), resources={Database: Database("fake")})


async def test_the_middleware_of_a_service_stays():
    seen: list[str] = []

    def noting(handler):
        async def run(invocation):
            seen.append(invocation.function)
            return await handler(invocation)

        return run

    shop = Service("shop", middleware=[noting])

    @shop.function(retry=Retry(1))
    async def place() -> None: ...

    async with TestMesh(shop) as mesh:
        await mesh.send(place)
        await mesh.settle()
    assert seen == ["shop.place"]
