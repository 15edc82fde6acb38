"""All five services together, with a provider that fails two times out of five."""

import asyncio
import sqlite3
from contextlib import closing, contextmanager

from services.payments.provider import Behaviour
from services.shop import open_shop

FLAKY = Behaviour(failure_rate=0.4, latency_seconds=0)
TEA = {"tea": 3}
TOO_DEAR = {"pot": 30}
"""More than the provider takes at once."""
NOT_SOLD = {"unicorn": 1}


async def test_the_ledgers_balance(tmp_path):
    async with open_shop(tmp_path, FLAKY) as shop:
        baskets = [TEA] * 40 + [TOO_DEAR] + [NOT_SOLD] * 4
        answers = await asyncio.gather(
            *(shop.order(str(number), {}, **basket) for number, basket in enumerate(baskets))
        )
        assert [status for status, _ in answers] == [201] * 41 + [409] * 4
        await shop.mesh.advance("20m")

        ((confirmed, cancelled),) = {tuple(ends) for _, *ends in await shop.ledgers()}
        assert confirmed + cancelled == 41
        paid, stock = await shop.get("/payments/ledger"), await shop.get("/inventory/ledger")
        provider = shop.provider.ledger()
        assert (provider["charges"], provider["amount"]) == (paid["succeeded"], paid["amount"])
        assert provider["requests"] > 41
        assert (stock["held"], stock["reserved"], stock["sold"]) == (0, 0, 3 * confirmed)


async def test_a_customer_who_asks_again_orders_once(tmp_path):
    async with open_shop(tmp_path, FLAKY) as shop:
        answers = await asyncio.gather(*(shop.order("basket", {}, **TEA) for _ in range(10)))
        assert {status for status, _ in answers} == {201}
        assert len({order["order_id"] for _, order in answers}) == 1
        await shop.mesh.advance("20m")
        assert {sum(ends) for _, *ends in await shop.ledgers()} == {1}


async def test_a_key_whose_order_was_lost_keeps_its_basket(tmp_path):
    async with open_shop(tmp_path, FLAKY) as shop:
        with nothing_stored(tmp_path):
            assert (await shop.order("basket", {}, tea=1))[0] == 500
        for other in ({"tea": 10}, {"tea": 1, "pot": 1}, {"pot": 1}):
            assert (await shop.order("basket", {}, **other))[0] == 422
        status, order = await shop.order("basket", {}, tea=1)
        assert (status, order["total"]) == (201, 450)
        await shop.mesh.advance("20m")
        assert {sum(ends) for _, *ends in await shop.ledgers()} == {1}


async def test_a_key_whose_reservation_has_expired_is_told_so(tmp_path):
    async with open_shop(tmp_path, FLAKY) as shop:
        with nothing_stored(tmp_path):
            assert (await shop.order("basket", {}, **TEA))[0] == 500
        await shop.mesh.advance("20m")
        status, problem = await shop.order("basket", {}, **TEA)
        assert (status, "has expired" in problem["detail"]) == (409, True)
        assert (await shop.get("/inventory/ledger"))["available"] == 1050


@contextmanager
def nothing_stored(folder):
    """Let orders fail behind the reservation, as when it is killed there."""
    with closing(sqlite3.connect(folder / "orders.db")) as connection:
        connection.execute("ALTER TABLE outbox RENAME TO away")
        yield
        connection.execute("ALTER TABLE away RENAME TO outbox")


async def test_a_provider_that_is_away_costs_nobody_anything(tmp_path):
    async with open_shop(tmp_path, Behaviour(failure_rate=1, latency_seconds=0)) as shop:
        for number in range(5):
            await shop.order(str(number), {}, **TEA)
        await shop.mesh.advance("20m")
        shop.provider.behaviour = Behaviour(failure_rate=0, latency_seconds=0)
        await shop.mesh.advance("1h")
        assert {tuple(ends) for _, *ends in await shop.ledgers()} == {(0, 5)}
        assert shop.provider.ledger()["charges"] == 0
        assert (await shop.get("/inventory/ledger"))["available"] == 1050
