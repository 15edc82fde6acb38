import aiohttp
import pytest
import pytest_asyncio

from eventmesh import InvocationTimeout, Throttled
from eventmesh.testing import TestMesh

from ..app import orders
from .conftest import TEA

KEY = {"Idempotency-Key": "basket-7"}


@pytest_asyncio.fixture
async def client(mesh):
    async with aiohttp.ClientSession(mesh.url) as session:
        yield session


async def post(client, order, **options):
    async with client.post("/orders", json=order, **options) as reply:
        return reply.status, await reply.json()


async def get(client, path):
    async with client.get(path) as reply:
        return reply.status, await reply.json()


async def test_an_order_is_priced_stored_and_told(client, mesh):
    status, order = await post(client, TEA)
    assert (status, order["total"], order["status"]) == (201, 1350, "placed")
    assert await get(client, f"/orders/{order['order_id']}") == (200, order)
    await mesh.settle()
    (event,) = mesh.emitted
    assert (event.type, event.json) == ("order.placed", order)
    assert order["placed"] == mesh.now.isoformat().replace("+00:00", "Z")


async def test_what_is_not_in_stock_is_not_ordered(client, mesh):
    order = TEA | {"lines": [{"sku": "unicorn", "count": 1}]}
    status, problem = await post(client, order)
    assert (status, problem["missing"]) == (409, ["unicorn"])
    assert await get(client, "/orders") == (200, {"orders": [], "next": None})
    assert mesh.emitted == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"customer": "nobody"},
        {"customer": "a@["},
        {"customer": "a:;@x"},
        {"lines": []},
        {"lines": [{"sku": "tea", "count": 0}]},
        {"lines": [{"sku": "tea/../pot", "count": 1}]},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(client, inventory, wrong):
    status, _ = await post(client, TEA | wrong)
    assert (status, inventory.holds) == (422, [])


async def test_with_the_same_key_it_is_the_same_order(client, inventory, mesh):
    first = await post(client, TEA, headers=KEY)
    assert await post(client, TEA, headers=KEY) == first
    assert len(inventory.holds) == 1
    other = TEA | {"lines": [{"sku": "tea", "count": 4}]}
    assert (await post(client, other, headers=KEY))[0] == 422
    assert (await post(client, TEA, headers={"Idempotency-Key": "basket-8"}))[1] != first[1]
    await mesh.settle()
    assert len(mesh.emitted) == 2


async def test_without_a_key_each_order_is_one_of_its_own(client):
    assert await post(client, TEA) != await post(client, TEA)


async def test_an_order_that_nobody_has_is_not_found(client):
    assert (await get(client, "/orders/nothing"))[0] == 404


async def test_pages(client, mesh):
    placed = {(await post(client, TEA))[1]["order_id"] for _ in range(5)}
    confirmed = min(placed)
    await mesh.emit("payment.succeeded", {"order_id": confirmed})
    await mesh.settle()
    seen, after = [], ""
    while after is not None:
        _, page = await get(client, f"/orders?limit=2&after={after}")
        seen += [order["order_id"] for order in page["orders"]]
        after = page["next"]
    assert seen == sorted(placed)
    _, page = await get(client, "/orders?status=confirmed")
    assert [order["order_id"] for order in page["orders"]] == [confirmed]
    assert (await get(client, "/orders?status=lost"))[0] == 422


@pytest.mark.parametrize(
    ("error", "wait"),
    [(Throttled("all places are taken", retry_after=7), "7"), (InvocationTimeout("late"), "1")],
)
async def test_an_inventory_that_does_not_answer_is_no_failure_of_ours(tmp_path, error, wait):
    store, stubs = f"sqlite:///{tmp_path}/orders.db", {"inventory.reserve": error}
    async with (
        TestMesh(orders, stubs=stubs, store=store, http=True) as mesh,
        aiohttp.ClientSession(mesh.url) as client,
        client.post("/orders", json=TEA) as reply,
    ):
        assert (reply.status, reply.headers["Retry-After"]) == (503, wait)
