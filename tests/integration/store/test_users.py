"""Database users: passwords in files, and users with few rights."""

from urllib.parse import urlsplit

import pytest

from eventmesh import Context, Service
from eventmesh.model.errors import SettingsError
from eventmesh.store.database import Database
from eventmesh.store.migrate import migrate, read_status
from eventmesh.store.urls import read_store_url


@pytest.fixture
async def query_as_owner(postgres_url):
    database = Database(read_store_url(postgres_url))

    async def query(statement):
        async with database.begin() as connection:
            await connection.exec_driver_sql(statement)

    yield query
    await database.close()


@pytest.fixture
async def reader_url(postgres_url, query_as_owner):
    """The URL of a user who may connect, and read what is granted."""
    name = urlsplit(postgres_url).path.removeprefix("/") + "_reader"
    await query_as_owner(f"CREATE ROLE {name} LOGIN PASSWORD 'secret-of-reader'")
    parts = urlsplit(postgres_url)
    yield parts._replace(netloc=f"{name}:secret-of-reader@{parts.hostname}:{parts.port}").geturl()
    await query_as_owner(f"DROP OWNED BY {name}")
    await query_as_owner(f"DROP ROLE {name}")


async def prepare_for_readers(postgres_url, query_as_owner, reader_url):
    database = Database(read_store_url(postgres_url))
    await migrate(database)
    await database.close()
    name = urlsplit(reader_url).username
    await query_as_owner(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")


def build_service():
    service = Service("orders")

    @service.function
    async def place(ctx: Context) -> None:
        async with ctx.transaction():
            await ctx.emit("order.placed", {})

    return service


async def test_a_user_who_may_create_no_tables_is_told_what_to_do(hosting_on, reader_url):
    with pytest.raises(SettingsError, match=r"run 'eventmesh store migrate' once") as caught:
        async with hosting_on(reader_url):
            pass
    assert "secret-of-reader" not in str(caught.value)


async def test_a_user_who_may_only_read_is_told_at_the_start(
    hosting_on, postgres_url, query_as_owner, reader_url
):
    await prepare_for_readers(postgres_url, query_as_owner, reader_url)
    with pytest.raises(SettingsError, match=r"GRANT .*INSERT") as caught:
        async with hosting_on(reader_url, store_migrate="never"):
            pass
    assert "secret-of-reader" not in str(caught.value)


@pytest.fixture
def hosting_on(hosting_postgres):
    return lambda url, **settings: hosting_postgres(build_service(), url=url, **settings)


async def test_a_password_is_read_from_its_file_for_each_connection(postgres_url, tmp_path):
    parts = urlsplit(postgres_url)
    file = tmp_path / "password"
    url = parts._replace(
        netloc=f"{parts.username}@{parts.hostname}:{parts.port}", query=f"password_file={file}"
    ).geturl()
    with pytest.raises(SettingsError, match=r"password_file of the store .* cannot be read"):
        read_store_url(url)
    file.write_text("wrong\n")
    database = Database(read_store_url(url))
    try:
        with pytest.raises(SettingsError, match="check the user and the password"):
            await read_status(database)
        file.write_text(f"{parts.password}\n")
        assert (await read_status(database)).current == ""
    finally:
        await database.close()
