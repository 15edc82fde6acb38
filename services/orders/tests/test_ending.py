import sqlite3

import pytest

from eventmesh import BrokerUnavailable, FunctionError

from ..app import get_order, list_orders, place_order
from .conftest import TEA, run_on

FULL = """CREATE TRIGGER full BEFORE INSERT ON eventmesh_outbox
BEGIN SELECT RAISE(ABORT, 'no message can be stored'); END"""


async def place(mesh):
    order = await mesh.invoke(place_order, TEA)
    await mesh.settle()
    return order.order_id


async def end(mesh, type, order_id, **more):
    """Let an event come, and return what was told of the order because of it."""
    told = len(mesh.emitted)
    await mesh.emit(type, {"order_id": order_id, **more})
    await mesh.settle()
    return [event.type for event in mesh.emitted[told + 1 :]]


async def test_what_is_paid_is_confirmed(mesh):
    order_id = await place(mesh)
    assert await end(mesh, "payment.succeeded", order_id) == ["order.confirmed"]
    assert (await mesh.invoke(get_order, {"order_id": order_id})).status == "confirmed"


async def test_what_cannot_be_paid_is_cancelled(mesh):
    order_id = await place(mesh)
    assert await end(mesh, "payment.failed", order_id, reason="no money") == ["order.cancelled"]
    order = await mesh.invoke(get_order, {"order_id": order_id})
    assert (order.status, order.reason) == ("cancelled", "no money")


async def test_the_first_end_counts_and_is_told_once(mesh):
    order_id = await place(mesh)
    assert await end(mesh, "payment.failed", order_id) == ["order.cancelled"]
    for type in ("payment.succeeded", "payment.failed", "reservation.expired"):
        assert await end(mesh, type, order_id) == []
    assert (await mesh.invoke(get_order, {"order_id": order_id})).status == "cancelled"


async def test_an_order_that_nobody_pays_is_cancelled_when_its_reservation_is_over(mesh):
    order_id = await place(mesh)
    assert await end(mesh, "reservation.expired", order_id) == ["order.cancelled"]
    order = await mesh.invoke(get_order, {"order_id": order_id})
    assert order.reason == "not paid in time"


async def test_a_reservation_without_an_order_is_given_up_for_good(mesh, tmp_path):
    assert await end(mesh, "reservation.expired", "lost") == ["order.abandoned"]
    assert await end(mesh, "reservation.expired", "lost") == []
    assert (await mesh.invoke(list_orders)).orders == []
    with pytest.raises(FunctionError, match="there is no order"):
        await mesh.invoke(get_order, {"order_id": "lost"})
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        await run_on(tmp_path / "orders.db", "INSERT INTO orders SELECT * FROM orders")


async def test_an_order_whose_event_cannot_be_stored_is_not_placed(mesh, tmp_path):
    await run_on(tmp_path / "orders.db", FULL)
    with pytest.raises(FunctionError):
        await mesh.invoke(place_order, TEA)
    await run_on(tmp_path / "orders.db", "DROP TRIGGER full")
    assert (await mesh.invoke(list_orders)).orders == []
    assert mesh.emitted == []


async def test_a_broker_that_is_away_keeps_no_order_from_being_told(mesh, monkeypatch):
    async def away(*_, **__):
        raise BrokerUnavailable("nothing is stored")

    with monkeypatch.context() as patched:
        patched.setattr(mesh.broker, "publish", away)
        await mesh.invoke(place_order, TEA)
        assert mesh.emitted == []
    await mesh.advance("15s")
    assert [event.type for event in mesh.emitted] == ["order.placed"]


async def test_an_order_that_was_told_leaves_nothing_in_the_outbox(mesh, tmp_path):
    await place(mesh)
    assert await run_on(tmp_path / "orders.db", "SELECT count(*) FROM eventmesh_outbox") == [(0,)]
    await mesh.advance("1m")
    assert len(mesh.emitted) == 1


async def test_a_database_that_is_away_for_an_hour_loses_no_event(mesh, tmp_path):
    order_id = await place(mesh)
    await run_on(tmp_path / "orders.db", "ALTER TABLE orders RENAME TO away")
    assert await end(mesh, "payment.succeeded", order_id) == []
    await mesh.advance("1h")
    await run_on(tmp_path / "orders.db", "ALTER TABLE away RENAME TO orders")
    await mesh.advance("5m")
    assert (await mesh.invoke(get_order, {"order_id": order_id})).status == "confirmed"
