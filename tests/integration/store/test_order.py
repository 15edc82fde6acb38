"""PostgreSQL shows rows in the order of commits, which is not that of their ids."""

import asyncio

import pytest

from eventmesh import Context, Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.message import Message
from eventmesh.store.database import Database
from eventmesh.store.migrate import migrate
from eventmesh.store.outbox.messages import Outgoing, build_rows, store_rows
from eventmesh.store.outbox.queries import delete_published, read_due
from eventmesh.store.tables import LANES
from eventmesh.store.urls import read_store_url

EVERY_LANE = [("orders", lane) for lane in range(LANES)]


@pytest.fixture
def store_url(postgres_url):
    return postgres_url


@pytest.fixture
async def database(store_url):
    database = Database(read_store_url(store_url))
    await migrate(database)
    yield database
    await database.close()


def rows(name, key=""):
    message = Message(b"null", name, 0.0, trigger="event", type="order.placed")
    return build_rows([Outgoing("", message, 0.0)], "orders", key, 0.0)


async def read(database):
    async with database.begin() as connection:
        return await read_due(connection, EVERY_LANE, 1.0)


async def test_a_message_that_becomes_visible_late_is_read(database):
    """A reader that went on behind the last id it has read would never see the first."""
    async with database.engine.connect() as early, early.begin() as transaction:
        await store_rows(early, rows("early"))
        async with database.begin() as late:
            await store_rows(late, rows("late"))
        (late_row,) = await read(database)
        async with database.begin() as connection:
            await delete_published(connection, [late_row.id])
        await transaction.commit()
    (early_row,) = await read(database)
    assert early_row.id < late_row.id
    assert '"early"' in early_row.properties


async def test_commits_under_one_key_have_ids_in_their_order(database, soon):
    """Who comes second waits until the first is visible, and only then draws its id."""
    ended = []

    async def commit(name, key):
        async with database.begin() as connection:
            await store_rows(connection, rows(name, key))
        ended.append(name)

    async with asyncio.TaskGroup() as tasks:
        async with database.engine.connect() as first, first.begin() as transaction:
            await store_rows(first, rows("first", "one"))
            second = tasks.create_task(commit("second", "one"))
            await soon(commit("other", "another"))
            assert await read(database) != []
            assert ended == ["other"]
            await transaction.commit()
        await soon(second)
    found = [row for row in await read(database) if row.order_key == "key:one"]
    assert ['"first"' in row.properties for row in found] == [True, False]


async def test_a_run_waits_for_the_commit_of_its_key_and_comes_after_it(
    database, hosting, soon, eventually
):
    published = []

    class Recording(MemoryBroker):
        async def publish(self, route, message, *, delay=0.0, give_up=True):
            await super().publish(route, message, delay=delay, give_up=give_up)
            published.append(message.type and message.id)

    service = Service("orders")

    @service.function
    async def place(ctx: Context) -> None:
        async with ctx.transaction(key="one"):
            await ctx.emit("order.placed", id="second")

    async with (
        Recording() as broker,
        hosting(service, broker=broker) as host,
        asyncio.TaskGroup() as tasks,
    ):
        async with database.engine.connect() as first, first.begin() as transaction:
            await store_rows(first, rows("first", "one"))
            run = tasks.create_task(host.caller.invoke("orders.place"))
            await wait_for_lock(database, soon)
            assert not run.done()
            await transaction.commit()
        await soon(run)

        async def events():
            return [id for id in published if id]

        await eventually(events, ["first", "second"])


async def wait_for_lock(database, soon):
    async def wait():
        while True:
            async with database.begin() as connection:
                waiting = await connection.exec_driver_sql(
                    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND "
                    "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                if waiting.first():
                    return

    await soon(wait())
