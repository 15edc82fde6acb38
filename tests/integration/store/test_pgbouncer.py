"""What differs behind pgbouncer; the other tests of stores run behind it as well."""

import asyncio
from urllib.parse import urlsplit

import pytest
from pgbouncer import Pgbouncer
from postgres_fixtures import through
from sqlalchemy import text

from eventmesh import DurableContext, Service, StoreUnavailable
from eventmesh.model.errors import SettingsError
from eventmesh.store.database import Database
from eventmesh.store.migrate import migrate
from eventmesh.store.urls import read_store_url

AT_ONCE = 4


@pytest.fixture
async def opened():
    """Open a database by its URL."""
    databases = []

    def opened(url):
        databases.append(Database(read_store_url(url)))
        return databases[-1]

    yield opened
    for database in databases:
        await database.close()


async def ask_at_once(database, statement, together):
    """Ask in transactions that are all open at once, which need a session each."""

    async def ask():
        async with database.begin() as connection:
            found = (await connection.execute(text(statement))).all()
            await together.wait()
            return found

    return await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


def build_service():
    service = Service("orders")

    async def charge(order: str) -> str:
        return f"paid {order}"

    @service.function(durable=True)
    async def place(order: str, ctx: DurableContext) -> str:
        payment = await ctx.step(charge, order)
        await ctx.wait(1)
        return await ctx.step(charge, payment)

    return service


async def test_a_durable_function_leaves_nothing_in_sessions(pooled_url, hosting_postgres, opened):
    async with hosting_postgres(build_service(), url=pooled_url) as host:
        placed = (host.caller.invoke("orders.place", {"order": str(n)}) for n in range(AT_ONCE))
        expected = [f"paid paid {number}" for number in range(AT_ONCE)]
        assert await asyncio.gather(*placed) == expected
    database = opened(pooled_url)
    left = await ask_at_once(
        database,
        "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements), "
        "(SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'), "
        "(SELECT count(*) FROM pg_listening_channels())",
        asyncio.Barrier(AT_ONCE),
    )
    assert len({pid for ((pid, *_),) in left}) == AT_ONCE
    assert {tuple(counts) for ((_, *counts),) in left} == {(0, 0, 0)}


async def test_who_does_not_say_that_it_is_there_is_told_to(pooled_url, opened):
    database = opened(pooled_url.partition("?")[0])

    async def ask():
        async with database.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(0.001)"))

    # Until what one session was told to prepare is to be run by another one.
    errors = []
    while not errors:
        answers = await asyncio.gather(*(ask() for _ in range(AT_ONCE)), return_exceptions=True)
        errors = [each for each in answers if each is not None]
    for error in errors:
        assert isinstance(error, StoreUnavailable)
        assert "add ?pgbouncer=true" in str(error)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"path": "/nothing"}, "create the database"),
        ({"user": "nobody:secret"}, "check the user and the password"),
        ({"query": "pgbouncer=true&search_path=shop"}, "pgbouncer refuses this option"),
    ],
)
async def test_what_it_refuses_is_told_at_the_start(pooled_url, opened, change, advice):
    parts = urlsplit(pooled_url)
    if user := change.pop("user", None):
        change["netloc"] = f"{user}@{parts.netloc.rpartition('@')[2]}"
    with pytest.raises(SettingsError, match=advice) as raised:
        await migrate(opened(parts._replace(**change).geturl()))
    assert "secret" not in str(raised.value)


async def test_one_that_has_no_transactions_is_refused(postgres_url, opened):
    pooler = Pgbouncer(postgres_url, pool_mode="statement")
    try:
        await asyncio.to_thread(pooler.launch)
        with pytest.raises(SettingsError, match="set pool_mode = transaction"):
            await migrate(opened(through(pooler.address(), postgres_url)))
    finally:
        pooler.remove()
