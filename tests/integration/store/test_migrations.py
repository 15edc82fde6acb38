"""The tables of the store: made, kept up to date, and refused where they cannot be."""

import asyncio
import os
import secrets
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from databases import open_database

from eventmesh import Context, Service, SettingsError
from eventmesh.store.migrate import migrate, prepare_tables, read_status
from eventmesh.store.tables import metadata

NOBODY = 65534
TABLES = {
    "postgresql": "SELECT tablename FROM pg_tables",
    "sqlite": "SELECT name FROM sqlite_master",
}


def build_service():
    service = Service("orders")

    @service.function
    async def place(ctx: Context) -> None:
        async with ctx.transaction():
            await ctx.emit("order.placed")

    return service


async def test_a_service_makes_the_tables_when_it_starts(hosting, query, store_url):
    async with hosting(build_service()) as host:
        await host.caller.invoke("orders.place")
    names = {row[0] for row in await query(TABLES[store_url.partition("://")[0]])}
    assert names >= {*metadata.tables, "eventmesh_version"}


async def test_the_tables_are_those_that_the_code_knows(store_url):
    """A migration that was forgotten would show here."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def compare(connection):
        options = {"version_table": "eventmesh_version", "compare_type": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    async with open_database(store_url) as database:
        await migrate(database)
        async with database.begin() as connection:
            assert await connection.run_sync(compare) == []


async def test_replicas_that_start_at_once_make_them_once(store_url):
    async with open_database(store_url) as first, open_database(store_url) as second:
        await asyncio.gather(*(prepare_tables(each, "auto") for each in (first, second) * 3))
        assert (await read_status(first)).is_current


async def test_with_never_missing_tables_are_an_error_that_says_what_to_do(hosting):
    with pytest.raises(SettingsError, match="eventmesh store migrate"):
        async with hosting(build_service(), store_migrate="never"):
            pass


async def test_tables_of_a_newer_version_are_refused(hosting, query, store_url):
    async with open_database(store_url) as database:
        await migrate(database)
    await query("UPDATE eventmesh_version SET version_num = '9999'")
    with pytest.raises(SettingsError, match=r"9999.*install the eventmesh that made them"):
        async with hosting(build_service()):
            pass


async def test_a_user_who_may_not_make_tables_is_told_who_should(new_postgres_url, hosting):
    url = await new_postgres_url()
    # All databases of a server have the same roles, and other tests make theirs meanwhile.
    name = f"reader_{secrets.token_hex(8)}"
    async with open_database(url) as database, database.begin() as connection:
        await connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        await connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'reader'")
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    reader = urlunsplit(parts._replace(netloc=f"{name}:reader@{place}"))
    try:
        with pytest.raises(SettingsError, match=r"may not change its tables.*store migrate"):
            async with hosting(build_service(), url=reader):
                pass
    finally:
        async with open_database(url) as database, database.begin() as connection:
            await connection.exec_driver_sql(f"DROP OWNED BY {name}")
            await connection.exec_driver_sql(f"DROP ROLE {name}")


async def test_a_database_or_password_that_is_wrong_is_told(postgres_url, hosting):
    parts = urlsplit(postgres_url)
    for wrong, advice in (
        (parts._replace(path="/nothing"), "create the database"),
        (parts._replace(netloc=f"nobody:secret@{parts.netloc.rpartition('@')[2]}"), "nobody"),
    ):
        with pytest.raises(SettingsError, match=advice) as raised:
            async with hosting(build_service(), url=urlunsplit(wrong)):
                pass
        assert "secret" not in str(raised.value)


async def test_a_file_that_cannot_be_written_is_told(tmp_path, hosting):
    with pytest.raises(SettingsError, match="create its folder"):
        async with hosting(build_service(), url=f"sqlite:///{tmp_path}/nowhere/store.db"):
            pass


@pytest.fixture
def place():
    """A folder that any user may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@contextmanager
def as_reader(file):
    """Let this process read a file and its folder, and write neither, also where it is root."""
    root = os.geteuid() == 0
    file.chmod(0o444)
    file.parent.chmod(0o555)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        file.parent.chmod(0o755)
        file.chmod(0o644)


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("how", ["auto", "never"])
async def test_a_file_that_may_only_be_read_is_told(place, made, how):
    file = place / "store.db"
    file.touch()
    async with open_database(f"sqlite:///{file}") as database:
        if made:
            await migrate(database)
    with as_reader(file):
        async with open_database(f"sqlite:///{file}") as database:
            with pytest.raises(SettingsError, match="let the user of this process write") as told:
                await prepare_tables(database, how)
    assert str(file) in str(told.value)
