"""Tables of each earlier version become those of today, with all that is in them."""

import asyncio

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import open_database
from sqlalchemy import text

from eventmesh import Context, Service, SettingsError
from eventmesh.store.migrate import VERSION_TABLE, _config, migrate, prepare_tables, read_status
from eventmesh.store.tables import metadata

SCRIPTS = ScriptDirectory.from_config(_config())
EARLIER = [each.revision for each in SCRIPTS.walk_revisions()][:0:-1]
"""All versions but the newest, the oldest first."""


@pytest.fixture(params=EARLIER)
async def earlier(request, store_url):
    """The version of tables that an earlier eventmesh made, with a row in each of them."""

    def upgrade(connection):
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, request.param)

    async with open_database(store_url) as database, database.begin() as connection:
        await connection.run_sync(upgrade)
        await connection.execute(
            text(
                "INSERT INTO eventmesh_outbox (service, lane, order_key, destination, properties, "
                "body, size, stored, due, attempts) VALUES ('orders', 1, 'k', '', :properties, "
                ":body, 2, 1, 1, 0)"
            ),
            {
                "properties": '{"id": "kept", "type": "order.kept", "headers": {}}',
                "body": b"{}",
            },
        )
        await connection.execute(
            text(
                "INSERT INTO eventmesh_inbox (function, id, expires) "
                "VALUES ('orders.place', 'done', 9000000000)"
            )
        )
    return request.param


def test_there_are_earlier_versions():
    assert EARLIER[0] == "0001"
    assert SCRIPTS.get_current_head() not in EARLIER


async def test_they_become_those_of_today_and_keep_what_they_hold(earlier, store_url, query):
    async with open_database(store_url) as database:
        before = await migrate(database)
        assert (before.current, before.known) == (earlier, True)
        assert (await read_status(database)).is_current
        async with database.begin() as connection:
            assert await connection.run_sync(differences) == []
    assert await query("SELECT body, stored FROM eventmesh_outbox") == [(b"{}", 1.0)]
    assert await query("SELECT function, id FROM eventmesh_inbox") == [("orders.place", "done")]


def differences(connection):
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


async def test_replicas_that_start_at_once_bring_them_up_to_date_once(earlier, store_url, query):
    async with open_database(store_url) as first, open_database(store_url) as second:
        await asyncio.gather(*(prepare_tables(each, "auto") for each in (first, second) * 3))
    assert await query(f"SELECT version_num FROM {VERSION_TABLE}") == [
        (SCRIPTS.get_current_head(),)
    ]


async def test_with_never_they_are_refused_with_advice(earlier, store_url):
    async with open_database(store_url) as database:
        with pytest.raises(SettingsError, match=rf"version {earlier}.*eventmesh store migrate"):
            await prepare_tables(database, "never")
        assert (await read_status(database)).current == earlier


async def test_a_service_publishes_what_an_earlier_version_stored(
    earlier, hosting, query, eventually
):
    service = Service("orders")

    @service.function
    async def place(ctx: Context) -> None:
        async with ctx.transaction():
            await ctx.emit("order.placed")

    async with hosting(service) as host:
        await host.caller.invoke("orders.place")
        await eventually(lambda: query("SELECT count(*) FROM eventmesh_outbox"), [(0,)])
