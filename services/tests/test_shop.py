"""All five services together, with a provider and a carrier that fail two times out of five."""

import asyncio
import sqlite3
from contextlib import closing

from services.payments.provider import Behaviour
from services.shop import open_shop

FLAKY = Behaviour(failure_rate=0.4, latency_seconds=0)
TEA = {"tea": 3}
TOO_DEAR = {"pot": 30}
"""More than the provider takes at once."""
TOO_LARGE = {"tea": 101}
"""More than the carrier takes in one parcel."""
NOT_SOLD = {"unicorn": 1}


async def test_the_ledgers_balance(tmp_path):
    async with open_shop(tmp_path, FLAKY) as shop:
        baskets = [TEA] * 40 + [TOO_DEAR, TOO_LARGE] + [NOT_SOLD] * 4
        answers = await asyncio.gather(
            *(shop.order(str(number), {}, **basket) for number, basket in enumerate(baskets))
        )
        assert [status for status, _ in answers] == [201] * 42 + [409] * 4
        await shop.mesh.advance("20m")

        ((confirmed, cancelled),) = {tuple(ends) for _, *ends in await shop.ledgers()}
        assert confirmed + cancelled == 42
        assert await shop.count("undeliverable") == 1
        paid, stock = await shop.get("/payments/ledger"), await shop.get("/inventory/ledger")
        provider = shop.provider.ledger()
        assert (provider["charges"], provider["amount"]) == (paid["succeeded"], paid["amount"])
        assert provider["requests"] > 41
        assert (stock["held"], stock["reserved"], stock["sold"]) == (0, 0, 3 * confirmed)
        assert len(shop.carrier.collected()) == confirmed

        assert (await shop.get("/notifications/ledger"))["reminder"] == 0
        await shop.mesh.advance("1d")
        assert (await shop.get("/notifications/ledger"))["reminder"] == confirmed


async def test_a_customer_who_asks_again_orders_once(tmp_path):
    async with open_shop(tmp_path, FLAKY) as shop:
        answers = await asyncio.gather(*(shop.order("basket", {}, **TEA) for _ in range(10)))
        assert {status for status, _ in answers} == {201}
        assert len({order["order_id"] for _, order in answers}) == 1
        await shop.mesh.advance("20m")
        assert {sum(ends) for _, *ends in await shop.ledgers()} == {1}


async def test_a_key_whose_order_was_lost_orders_once_and_all_holds_end(tmp_path):
    async with open_shop(tmp_path, FLAKY) as shop:
        # Orders fail behind the reservation, as when they are killed there.
        await rename(tmp_path, "orders", "away")
        assert (await shop.order("basket", {}, tea=1))[0] == 500
        await rename(tmp_path, "away", "orders")
        status, order = await shop.order("basket", {}, tea=1)
        assert (status, order["total"]) == (201, 450)
        assert (await shop.order("basket", {}, tea=2))[0] == 422
        await shop.mesh.advance("20m")
        stock = await shop.get("/inventory/ledger")
        assert (stock["held"], stock["released"], stock["committed"]) == (0, 1, 1)
        assert await shop.count("confirmed") == 1


async def rename(folder, table, name):
    def run():
        with closing(sqlite3.connect(folder / "shop.db", timeout=30)) as connection:
            connection.execute(f"ALTER TABLE {table} RENAME TO {name}")

    await asyncio.to_thread(run)  # It may wait for a transaction of the mesh.


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
