"""A connection that ended while nobody used it is found before it is used."""

from sqlalchemy import text

from eventmesh.store import database as module
from eventmesh.store.database import Database
from eventmesh.store.urls import read_store_url

OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)


async def _ask(database, statement):
    async with database.begin() as connection:
        return (await connection.execute(text(statement))).scalar_one()


async def test_a_connection_that_was_ended_while_idle_is_replaced(postgres_url, monkeypatch):
    monkeypatch.setattr(module, "RECENT_SECONDS", 0.0)
    used, other = (Database(read_store_url(postgres_url)) for _ in range(2))
    try:
        first = await _ask(used, "SELECT pg_backend_pid()")
        assert await _ask(used, "SELECT pg_backend_pid()") == first
        assert await _ask(other, OTHERS) == 1
        assert await _ask(used, "SELECT pg_backend_pid()") != first
    finally:
        await used.close()
        await other.close()
