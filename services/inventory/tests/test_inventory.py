import aiohttp
import pytest

from eventmesh import FunctionError, PayloadInvalid

from ..app import get_ledger, reserve
from ..models import Hold, Ledger
from .conftest import run_on

FULL = """CREATE TRIGGER full BEFORE INSERT ON eventmesh_outbox
BEGIN SELECT RAISE(ABORT, 'no message can be stored'); END"""

NEW = Ledger(held=0, committed=0, released=0, available=1050, reserved=0, sold=0)


def hold(order_id, **counts):
    lines = [{"sku": sku, "count": count} for sku, count in counts.items()]
    return Hold(order_id=order_id, lines=lines)


async def test_what_is_reserved_is_not_available(mesh):
    reservation = await mesh.invoke(reserve, hold("1", tea=2, pot=1))
    assert reservation.prices == {"tea": 450, "pot": 3900}
    assert await mesh.invoke(get_ledger) == NEW.model_copy(
        update={"held": 1, "available": 1047, "reserved": 3}
    )


async def test_all_is_held_or_nothing(mesh):
    reservation = await mesh.invoke(reserve, hold("1", tea=2, pot=51, unicorn=1))
    assert (reservation.prices, reservation.missing) == ({}, ["pot", "unicorn"])
    assert await mesh.invoke(get_ledger) == NEW


async def test_an_order_is_reserved_for_once(mesh):
    first = await mesh.invoke(reserve, hold("1", tea=2))
    assert await mesh.invoke(reserve, hold("1", tea=2)) == first
    assert (await mesh.invoke(get_ledger)).reserved == 2


async def test_other_counts_for_the_same_order_are_refused(mesh):
    await mesh.invoke(reserve, hold("1", tea=2))
    for other in ({"tea": 20}, {"tea": 1}, {"tea": 2, "pot": 1}, {"pot": 2}):
        with pytest.raises(PayloadInvalid, match="another payload"):
            await mesh.invoke(reserve, hold("1", **other))
    assert (await mesh.invoke(get_ledger)).reserved == 2


async def test_two_lines_of_one_article_are_held_together(mesh):
    lines = [{"sku": "pot", "count": 30}, {"sku": "pot", "count": 30}]
    assert (await mesh.invoke(reserve, {"order_id": "1", "lines": lines})).missing == ["pot"]


async def test_confirmed_is_sold_once(mesh):
    await mesh.invoke(reserve, hold("1", tea=2))
    for type in ("order.confirmed", "order.confirmed", "order.cancelled"):
        await mesh.emit(type, {"order_id": "1"})
        await mesh.settle()
    assert await mesh.invoke(get_ledger) == NEW.model_copy(
        update={"committed": 1, "available": 1048, "sold": 2}
    )


async def test_cancelled_is_available_again_and_stays_so(mesh):
    for order_id, type in (("1", "order.cancelled"), ("2", "order.abandoned")):
        await mesh.invoke(reserve, hold(order_id, tea=2))
        await mesh.emit(type, {"order_id": order_id})
        await mesh.settle()
    assert await mesh.invoke(get_ledger) == NEW.model_copy(update={"released": 2})
    await mesh.invoke(reserve, hold("1", tea=2))
    assert await mesh.invoke(get_ledger) == NEW.model_copy(update={"released": 2})


@pytest.mark.parametrize("first", ["order.confirmed", "order.undeliverable"])
async def test_what_cannot_be_delivered_is_available_again_and_stays_so(mesh, first):
    await mesh.invoke(reserve, hold("1", tea=2))
    for type in (first, "order.undeliverable", "order.undeliverable", "order.confirmed"):
        await mesh.emit(type, {"order_id": "1"})
        await mesh.settle()
    assert await mesh.invoke(get_ledger) == NEW.model_copy(update={"released": 1})


async def test_a_database_that_is_away_for_an_hour_loses_no_event(mesh, tmp_path):
    await mesh.invoke(reserve, hold("1", tea=2))
    await run_on(tmp_path / "inventory.db", "ALTER TABLE items RENAME TO away")
    await mesh.emit("order.confirmed", {"order_id": "1"})
    await mesh.advance("1h")
    await run_on(tmp_path / "inventory.db", "ALTER TABLE away RENAME TO items")
    await mesh.advance("5m")
    assert (await mesh.invoke(get_ledger)).sold == 2


async def test_a_reservation_that_is_over_is_told_and_held_until_orders_answers(mesh):
    await mesh.invoke(reserve, hold("1", tea=2))
    await mesh.invoke(reserve, hold("2", tea=2))
    await mesh.emit("order.confirmed", {"order_id": "2"})
    await mesh.advance("15m")
    assert [event.json for event in mesh.emitted[1:]] == [{"order_id": "1"}]
    assert mesh.emitted[1].type == "reservation.expired"
    assert (await mesh.invoke(get_ledger)).held == 1


async def test_what_cannot_expire_is_not_held(mesh, tmp_path):
    await run_on(tmp_path / "inventory.db", FULL)
    with pytest.raises(FunctionError):
        await mesh.invoke(reserve, hold("1", tea=2))
    await run_on(tmp_path / "inventory.db", "DROP TRIGGER full")
    assert await mesh.invoke(get_ledger) == NEW


async def test_the_last_piece_is_held_for_one(mesh):
    async with aiohttp.ClientSession(mesh.url) as client:
        async with client.put("/inventory/items/cup", json={"price": 1, "available": 1}) as reply:
            assert reply.status == 200
        async with client.put("/inventory/items/cup", json={"price": 900, "available": 3}) as reply:
            assert await reply.json() == {"price": 900, "available": 3}
        for order_id in ("1", "2", "3", "4"):
            await mesh.send(reserve, hold(order_id, cup=1))
        await mesh.settle()
        async with client.get("/inventory/items") as reply:
            cup = (await reply.json())[0]
    assert cup == {"sku": "cup", "price": 900, "available": 0, "reserved": 3, "sold": 0}


async def test_an_article_that_makes_no_sense_is_refused(mesh):
    async with (
        aiohttp.ClientSession(mesh.url) as client,
        client.put("/inventory/items/cup", json={"price": -1, "available": 1}) as reply,
    ):
        assert reply.status == 422
