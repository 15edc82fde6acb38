import pytest

from eventmesh.testing import TestMesh

from ..app import get_order, give_back, orders, place_order
from ..carrier import STEPS
from .conftest import TEA, run_on

TOO_MANY = {"customer": "ada@example.com", "lines": [{"sku": "tea", "count": 101}]}
PAID = """INSERT INTO orders (order_id, customer, lines, total, status, reason, placed) VALUES
('7', 'ada@example.com', '[{"sku": "tea", "count": 3}]', 1350, 'confirmed', '', '2026-05-01')"""
PLACED = TEA | {"order_id": "7", "total": 1350, "placed": "2026-05-01T00:00:00Z"}


async def place(mesh, basket=TEA):
    order = await mesh.invoke(place_order, basket)
    await mesh.settle()
    return order.order_id


async def pay(mesh, basket=TEA):
    order_id = await place(mesh, basket)
    await mesh.emit("payment.succeeded", {"order_id": order_id})
    await mesh.settle()
    return order_id


def told(mesh, type):
    return [event.json for event in mesh.emitted if event.type == type]


async def status(mesh, order_id):
    return (await mesh.invoke(get_order, {"order_id": order_id})).status


async def test_what_is_paid_is_shipped_and_reminded_of_a_day_later(mesh, carrier):
    order_id = await pay(mesh)
    assert carrier.requests == [("PUT", step, 200) for step in STEPS]
    assert carrier.collected() == {order_id}
    await mesh.advance("23h")
    assert told(mesh, "order.reminder") == []
    await mesh.advance("1h")
    tracking = f"EM{order_id[:10].upper()}"
    reminder = {"order_id": order_id, "customer": TEA["customer"], "tracking": tracking}
    assert told(mesh, "order.reminder") == [reminder]
    assert await status(mesh, order_id) == "confirmed"


@pytest.mark.parametrize("event", ["payment.failed", "reservation.expired"])
async def test_what_is_not_paid_is_not_shipped(mesh, carrier, event):
    order_id = await place(mesh)
    await mesh.advance("10m")
    await mesh.emit(event, {"order_id": order_id})
    await mesh.advance("2d")
    assert await status(mesh, order_id) == "cancelled"
    assert (carrier.requests, told(mesh, "order.reminder")) == ([], [])


async def test_an_order_is_shipped_that_was_paid_before_its_execution_began(
    mesh, carrier, tmp_path
):
    await run_on(tmp_path / "orders.db", PAID)
    await mesh.emit("order.placed", PLACED)
    await mesh.settle()
    assert carrier.collected() == {"7"}


async def test_orders_wait_for_their_own_payments(mesh, carrier):
    waiting = await place(mesh)
    paid = await pay(mesh)
    assert carrier.collected() == {paid}
    await mesh.emit("payment.succeeded", {"order_id": waiting})
    await mesh.settle()
    assert carrier.collected() == {paid, waiting}


async def test_a_carrier_that_is_away_for_an_hour_only_delays(mesh, carrier):
    carrier.failing = {("PUT", "label")}
    order_id = await pay(mesh)
    await mesh.advance("1h")
    assert carrier.parcels == {order_id: {"booking"}}
    carrier.failing = set()
    await mesh.advance("5m")
    assert carrier.parcels == {order_id: set(STEPS)}


async def test_what_the_carrier_refuses_is_undone_and_told(mesh, carrier):
    order_id = await pay(mesh, TOO_MANY)
    assert carrier.requests == [
        ("PUT", "booking", 200),
        ("PUT", "label", 422),
        ("DELETE", "label", 200),
        ("DELETE", "booking", 200),
    ]
    (order,) = told(mesh, "order.undeliverable")
    assert (order["order_id"], order["status"]) == (order_id, "undeliverable")
    assert order["reason"] == "the carrier takes parcels of 100 pieces at most"
    assert await status(mesh, order_id) == "undeliverable"
    await mesh.advance("2d")
    assert told(mesh, "order.reminder") == []


async def test_a_last_step_that_fails_for_good_undoes_all_in_the_opposite_order(mesh, carrier):
    carrier.failing = {("PUT", "collection"), ("DELETE", "label")}
    order_id = await pay(mesh)
    await mesh.advance("4h")
    assert [step for method, step, _ in carrier.requests if method == "PUT"] == [
        "booking",
        "label",
        *["collection"] * 40,
    ]
    # However long it takes to undo a step, those before it wait.
    assert told(mesh, "order.undeliverable") == []
    carrier.failing = set()
    await mesh.advance("1h")
    undone = [step for method, step, status in carrier.requests if (method, status) == UNDONE]
    assert undone == ["collection", "label", "booking"]
    assert len(told(mesh, "order.undeliverable")) == 1
    assert (carrier.parcels, await status(mesh, order_id)) == ({order_id: set()}, "undeliverable")


UNDONE = ("DELETE", 200)


async def test_only_a_confirmed_order_becomes_undeliverable(mesh):
    order_id = await place(mesh)
    for _ in range(2):
        await mesh.send(give_back, {"order_id": order_id, "reason": "it is too large"})
        await mesh.settle()
    assert (await status(mesh, order_id), told(mesh, "order.undeliverable")) == ("placed", [])


async def test_a_parcel_is_sent_and_reminded_of_once_whatever_dies(options, carrier):
    for mesh in TestMesh.each_crash(orders, store="sqlite:///:memory:", **options):
        carrier.parcels.clear()
        async with mesh:
            order_id = await pay(mesh)
            await mesh.advance("25h")
            assert carrier.parcels == {order_id: set(STEPS)}
            assert [reminder["order_id"] for reminder in told(mesh, "order.reminder")] == [order_id]
            assert told(mesh, "order.undeliverable") == []


async def test_a_parcel_is_taken_back_and_told_of_once_whatever_dies(options, carrier):
    for mesh in TestMesh.each_crash(orders, store="sqlite:///:memory:", **options):
        carrier.parcels.clear()
        async with mesh:
            order_id = await pay(mesh, TOO_MANY)
            await mesh.advance("25h")
            assert carrier.parcels == {order_id: set()}
            told_of = [order["order_id"] for order in told(mesh, "order.undeliverable")]
            assert (told_of, told(mesh, "order.reminder")) == ([order_id], [])
