"""Several relays on one outbox: leases, their end, and the marks that are dropped by age."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from eventmesh import Context, Service
from eventmesh.aio.clock import SystemClock
from eventmesh.store.database import Database
from eventmesh.store.migrate import migrate
from eventmesh.store.outbox import leases, relay
from eventmesh.store.outbox.leases import Leases
from eventmesh.store.outbox.queries import drop_marks
from eventmesh.store.tables import LANES
from eventmesh.store.urls import read_store_url


@asynccontextmanager
async def open_database(url):
    database = Database(read_store_url(url))
    yield database
    await database.close()


@pytest.fixture
def endless(monkeypatch):
    """Leases that run out when a test says so, and not when it is slow."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 3600.0)


@pytest.fixture
async def database(store_url, endless):
    database = Database(read_store_url(store_url))
    await migrate(database)
    yield database
    await database.close()


async def expire(database, owner):
    """Let the leases of one that has died run out, by whichever clock they go."""
    async with database.begin() as connection:
        for table in ("eventmesh_lanes", "eventmesh_relays"):
            await connection.exec_driver_sql(
                f"UPDATE {table} SET expires = 1 WHERE owner = '{owner}'"
            )


async def test_relays_share_the_lanes_evenly_and_none_is_held_twice(database):
    clock = SystemClock()
    first, second = (Leases(database, ["orders"], name, clock) for name in ("a", "b"))
    held, surplus = await first.hold()
    assert (len(held), surplus) == (LANES, set())
    assert (await second.hold())[0] == set()
    held, surplus = await first.hold()
    assert len(surplus) == LANES // 2
    await first.release(surplus)
    mine, _ = await first.hold()
    others, _ = await second.hold()
    assert len(mine) == len(others) == LANES // 2
    assert mine | others == {("orders", lane) for lane in range(LANES)}


async def test_the_lanes_of_a_relay_that_died_are_taken_when_its_lease_is_over(database):
    clock = SystemClock()
    dead, heir = (Leases(database, ["orders"], name, clock) for name in ("dead", "heir"))
    await dead.hold()
    assert (await heir.hold())[0] == set()
    await expire(database, "dead")
    assert len((await heir.hold())[0]) == LANES


async def test_the_lanes_that_nobody_has_held_for_longest_are_taken_first(database):
    """While processes die again and again some lanes are free, and not always the same ones."""
    clock = SystemClock()
    dead, other, heir = (Leases(database, ["orders"], name, clock) for name in ("a", "b", "c"))
    await dead.hold()
    await other.hold()
    async with database.begin() as connection:
        await connection.exec_driver_sql("UPDATE eventmesh_lanes SET expires = 100 - lane")
    assert (await heir.hold())[0] == {("orders", lane) for lane in (5, 6, 7)}


async def test_a_relay_that_leaves_frees_its_lanes_at_once(database):
    clock = SystemClock()
    first, second = (Leases(database, ["orders"], name, clock) for name in ("a", "b"))
    held, _ = await first.hold()
    await first.release(held, leave=True)
    assert len((await second.hold())[0]) == LANES


async def test_many_relays_at_once_hold_each_lane_once(database):
    clock = SystemClock()
    relays = [Leases(database, ["orders"], f"relay{number}", clock) for number in range(5)]
    for _ in range(4):
        found = await asyncio.gather(*(relay.hold() for relay in relays))
        every = [lane for held, _ in found for lane in held]
        assert len(every) == len(set(every))
        for each, (_, surplus) in zip(relays, found, strict=True):
            await each.release(surplus)
    assert set(every) == {("orders", lane) for lane in range(LANES)}


async def test_a_service_does_not_publish_what_another_one_stored(database):
    clock = SystemClock()
    orders, billing = (Leases(database, [name], name, clock) for name in ("orders", "billing"))
    assert {service for service, _ in (await orders.hold())[0]} == {"orders"}
    assert {service for service, _ in (await billing.hold())[0]} == {"billing"}


async def test_a_commit_wakes_the_relay_of_another_process(
    postgres_url, hosting, eventually, monkeypatch
):
    """Nobody polls here: half of the lanes are the other relay's, which must be told."""
    monkeypatch.setattr(relay, "POLL_SECONDS", 3600.0)
    service, other = build_service(), build_service()
    async with (
        hosting(service, url=postgres_url) as first,
        hosting(other, url=postgres_url) as second,
        open_database(postgres_url) as database,
    ):

        async def owners():
            async with database.begin() as connection:
                rows = await connection.exec_driver_sql("SELECT owner FROM eventmesh_lanes")
                return {row.owner for row in rows}

        await eventually(owners, {first.instance, second.instance})
        for number in range(40):
            await first.caller.invoke("orders.place", {"key": str(number)})

        async def pending():
            async with database.begin() as connection:
                rows = await connection.exec_driver_sql("SELECT id FROM eventmesh_outbox")
                return len(rows.all())

        await eventually(pending, 0)


def build_service():
    service = Service("orders")

    @service.function
    async def place(key: str, ctx: Context) -> None:
        async with ctx.transaction(key=key):
            await ctx.emit("order.placed")

    return service


async def test_marks_are_dropped_by_age_alone(database, query):
    for id, expires in (("old", 10.0), ("new", 30.0)):
        await query("INSERT INTO eventmesh_inbox VALUES ('f', :id, :e)", id=id, e=expires)
    async with database.begin() as connection:
        assert await drop_marks(connection, 20.0) == 1
        assert await drop_marks(connection, 20.0) == 0
    assert await query("SELECT id FROM eventmesh_inbox") == [("new",)]
