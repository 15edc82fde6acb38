import sqlite3
from contextlib import closing
from datetime import timedelta

from eventmesh import BrokerUnavailable

from ..app import get_order, place_order, post_outbox
from ..models import Order
from ..storage import OutboxEvent, opened
from .conftest import TEA


async def place(mesh):
    order = await mesh.invoke(place_order, {"order": TEA})
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


async def test_the_first_end_counts_and_is_told_again(mesh):
    order_id = await place(mesh)
    for type in ("payment.failed", "payment.succeeded", "payment.failed", "reservation.expired"):
        assert await end(mesh, type, order_id) == ["order.cancelled"]


async def test_an_order_that_nobody_pays_is_cancelled_when_its_reservation_is_over(mesh):
    order_id = await place(mesh)
    assert await end(mesh, "reservation.expired", order_id) == ["order.cancelled"]
    order = await mesh.invoke(get_order, {"order_id": order_id})
    assert order.reason == "not paid in time"


async def test_a_reservation_without_an_order_is_given_up_for_good(mesh, tmp_path):
    for _ in range(2):
        assert await end(mesh, "reservation.expired", "lost") == ["order.abandoned"]
    async with opened(f"sqlite+aiosqlite:///{tmp_path}/orders.db") as store:
        assert await store.order("lost") is None
        assert (await store.page(None, "", 10)).orders == []
        assert not await store.place(an_order("lost", mesh), OutboxEvent("1", "order.placed", {}))


async def test_what_a_crash_left_in_the_outbox_is_emitted_later(mesh, tmp_path):
    order = an_order("7", mesh)
    event = OutboxEvent("7.placed", "order.placed", order.model_dump(mode="json"))
    async with opened(f"sqlite+aiosqlite:///{tmp_path}/orders.db") as store:
        assert await store.place(order, event)
        await mesh.advance("15s")
        (event,) = mesh.emitted
        assert (event.type, event.id, event.read(Order)) == ("order.placed", "7.placed", order)
        assert await store.waiting(mesh.now, 10) == []
    await mesh.advance("1m")
    assert len(mesh.emitted) == 1


async def test_a_broker_that_is_away_keeps_no_order_from_being_told(mesh, monkeypatch):
    async def away(*_, **__):
        raise BrokerUnavailable("nothing is stored")

    with monkeypatch.context() as patched:
        patched.setattr("eventmesh.engine.caller.BrokerTransport.emit", away)
        await place(mesh)
        assert mesh.emitted == []
    await mesh.advance("15s")
    assert [event.type for event in mesh.emitted] == ["order.placed"]


async def test_an_order_that_was_told_leaves_nothing_in_the_outbox(mesh):
    await place(mesh)
    await mesh.advance("1m")
    assert len(mesh.emitted) == 1
    assert {fired.function for fired in mesh.fired} == {post_outbox.full_name}


async def test_a_database_that_is_away_for_an_hour_loses_no_event(mesh, tmp_path):
    order_id = await place(mesh)
    with closing(sqlite3.connect(tmp_path / "orders.db")) as connection:
        connection.execute("ALTER TABLE orders RENAME TO away")
        assert await end(mesh, "payment.succeeded", order_id) == []
        await mesh.advance("1h")
        connection.execute("ALTER TABLE away RENAME TO orders")
    await mesh.advance("5m")
    assert (await mesh.invoke(get_order, {"order_id": order_id})).status == "confirmed"


def an_order(order_id, mesh):
    return Order(**TEA, order_id=order_id, total=1350, placed=mesh.now - timedelta(minutes=1))
