import asyncio
import csv
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime

import aiohttp
import pytest
import pytest_asyncio

from eventmesh.testing import TestMesh

from ..app import list_closed, list_days, reports, stream
from ..models import Day

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
TODAY = START.date()


@pytest.fixture
def database(tmp_path):
    return tmp_path / "reports.db"


@pytest_asyncio.fixture
async def mesh(database):
    async with TestMesh(reports, store=f"sqlite:///{database}", start=START, http=True) as mesh:
        yield mesh


async def hear(mesh, order_id, *statuses, placed="2026-05-01T10:00:00Z"):
    for status in statuses:
        order = {"order_id": order_id, "customer": "ada@example.com", "total": 100}
        await mesh.emit(f"order.{status}", order | {"status": status, "placed": placed})
        await mesh.settle()


async def rename(database, table, name):
    def run():
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute(f"ALTER TABLE {table} RENAME TO {name}")

    await asyncio.to_thread(run)  # It may wait for a transaction of the mesh.


@pytest.mark.parametrize(
    "statuses",
    [("placed", "confirmed"), ("confirmed", "placed"), ("placed", "confirmed", "confirmed")],
)
async def test_events_count_once_in_whatever_order_they_come(mesh, statuses):
    await hear(mesh, "1", *statuses)
    assert await mesh.invoke(list_days, {"first": None}) == [
        Day(day=TODAY, placed=1, confirmed=1, cancelled=0, revenue=100)
    ]


@pytest.mark.parametrize(
    "statuses",
    [("placed", "confirmed", "undeliverable"), ("undeliverable", "confirmed", "placed")],
)
async def test_what_could_not_be_delivered_is_no_revenue(mesh, statuses):
    await hear(mesh, "1", *statuses)
    assert await mesh.invoke(list_days, {"first": None}) == [
        Day(day=TODAY, placed=1, confirmed=0, cancelled=1, revenue=0)
    ]


async def test_events_wait_while_the_orders_are_away_for_an_hour(mesh, database):
    await rename(database, "reported_orders", "away")
    await hear(mesh, "1", "confirmed")
    await mesh.advance("1h")
    await rename(database, "away", "reported_orders")
    await mesh.advance("5m")
    assert [day.confirmed for day in await mesh.invoke(list_days, {"first": None})] == [1]


async def test_sums_of_days(mesh):
    await hear(mesh, "1", "placed")
    await hear(mesh, "2", "placed", "confirmed")
    await hear(mesh, "3", "placed", "cancelled")
    await hear(mesh, "4", "confirmed", placed="2026-05-01T01:00:00+02:00")
    async with aiohttp.ClientSession(mesh.url) as client:
        async with client.get("/reports/days?first=2026-05-01") as reply:
            assert await reply.json() == [
                {"day": "2026-05-01", "placed": 3, "confirmed": 1, "cancelled": 1, "revenue": 100}
            ]
        async with client.get("/reports/days") as reply:
            assert [day["day"] for day in await reply.json()] == ["2026-04-30", "2026-05-01"]
        async with client.get("/reports/days?first=2020-01-01") as reply:
            assert reply.status == 422


async def test_at_night_the_day_is_kept(mesh):
    await hear(mesh, "1", "placed", "confirmed")
    await mesh.advance("1d")
    kept = Day(day=date(2026, 5, 1), placed=1, confirmed=1, cancelled=0, revenue=100)
    assert await mesh.invoke(list_closed, {"limit": 31}) == [kept]


async def test_downloads(mesh):
    for order_id in ("1", "2"):
        await hear(mesh, order_id, "confirmed")
    async with aiohttp.ClientSession(mesh.url) as client:
        async with client.get("/reports/orders.csv") as reply:
            rows = list(csv.DictReader((await reply.text()).splitlines()))
        async with client.get("/reports/orders.ndjson") as reply:
            assert reply.content_type == "application/x-ndjson"
            assert len((await reply.text()).splitlines()) == 2
    assert [row["order_id"] for row in rows] == ["1", "2"]
    assert rows[0]["placed"] == "2026-05-01T10:00:00Z"
    assert [order.order_id for order in await mesh.invoke(stream)] == ["1", "2"]
