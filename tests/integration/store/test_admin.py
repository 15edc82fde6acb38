"""What an operator asks of a store, as the commands do."""

import json
import subprocess
import sys

import pytest
from sqlalchemy import insert

from eventmesh.model.message import Message
from eventmesh.store.admin import open_admin
from eventmesh.store.database import Database
from eventmesh.store.migrate import migrate
from eventmesh.store.outbox.messages import Outgoing, build_rows
from eventmesh.store.tables import outbox
from eventmesh.store.urls import read_store_url


@pytest.fixture
async def stuck(store_url):
    """A store with two messages, of which the first was refused."""
    database = Database(read_store_url(store_url))
    await migrate(database)
    messages = [Outgoing(name, Message(b"null", name, 0.0), 0.0) for name in ("a.b", "c.d")]
    rows = build_rows(messages, "orders", "", 5.0)
    rows[0] |= {"attempts": 3, "not_before": 1e10, "error": "it is too large"}
    async with database.begin() as connection:
        for row in rows:
            await connection.execute(insert(outbox).values(row))
    await database.close()


async def test_messages_are_listed_retried_and_discarded(stuck, store_url):
    async with open_admin(store_url) as admin:
        first, second = await admin.list()
        assert (first.destination, second.destination) == ("a.b", "c.d")
        assert [each.error for each in await admin.list(failed=True)] == ["it is too large"]
        assert await admin.retry(second.number) == 0
        assert await admin.retry() == 1
        assert (await admin.list())[0].not_before == 0.0
        assert await admin.discard(first.number)
        assert not await admin.discard(first.number)
        status = await admin.status()
        assert status.schema.is_current
        assert [(each.service, each.pending, each.oldest) for each in status.outbox] == [
            ("orders", 1, 5.0)
        ]


async def test_the_commands_show_a_store(stuck, store_url):
    def run(*arguments):
        command = [sys.executable, "-m", "eventmesh", *arguments, "--store", store_url]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    listed = json.loads(run("outbox", "list", "--failed", "--json").stdout)
    assert [each["destination"] for each in listed] == ["a.b"]
    assert "of version" in run("store", "migrate").stdout
    missing = run("outbox", "discard", "999", "--yes")
    assert missing.returncode == 3
    assert "outbox list" in missing.stderr


def test_nothing_of_sql_is_imported_without_a_store(tmp_path):
    """A service without a store costs neither the time nor the memory of the libraries."""
    script = """
import asyncio, sys
from eventmesh import Context, Service
from eventmesh.testing import TestMesh

orders = Service("orders")

@orders.function
async def place(ctx: Context) -> int:
    return 1

async def main():
    async with TestMesh(orders, timeout=60) as mesh:
        await mesh.invoke(place)

asyncio.run(main())
print(sorted({"sqlalchemy", "alembic", "asyncpg", "aiosqlite"} & set(sys.modules)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert ended.stdout.strip() == "[]"
