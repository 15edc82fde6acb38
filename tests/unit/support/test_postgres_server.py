"""The PostgreSQL of the tests: databases of a test's own, in a server that a test may break."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from machine import is_free
from postgres_server import find_or_install
from postgres_server.server import query


async def test_has_an_empty_database_for_each_test(new_postgres_url):
    one, other = await new_postgres_url(), await new_postgres_url()
    await query(one, "CREATE TABLE orders (id integer)")

    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert await query(one, tables) == [("orders",)]
    assert await query(other, tables) == []


@pytest.mark.disruptive
async def test_keeps_what_was_committed_when_it_is_killed(postgres, postgres_url):
    await query(postgres_url, "CREATE TABLE orders (id integer)")
    await query(postgres_url, "INSERT INTO orders VALUES (1)")

    await postgres.kill()
    with pytest.raises(ConnectionRefusedError):
        await query(postgres_url, "SELECT 1")
    await postgres.start()

    assert await query(postgres_url, "SELECT id FROM orders") == [(1,)]


@pytest.mark.disruptive
async def test_stops_and_starts_on_the_same_address(postgres, postgres_url):
    await postgres.stop()
    with pytest.raises(ConnectionRefusedError):
        await query(postgres_url, "SELECT 1")
    await postgres.start()

    assert await query(postgres_url, "SELECT 1") == [(1,)]


@pytest.mark.disruptive
async def test_answers_nothing_while_it_is_frozen(postgres, postgres_url):
    await postgres.pause()
    asking = asyncio.create_task(query(postgres_url, "SELECT 1"))
    done, _ = await asyncio.wait([asking], timeout=0.2)
    assert not done

    await postgres.resume()
    assert await asking == [(1,)]


OWNER = """
import sys
from postgres_server import new_server
server = new_server()
server.launch()
server.signal("STOP")
print(server.port, server._folder, flush=True)
sys.stdin.read()
"""


async def test_ends_with_the_tests_that_started_it(soon, until):
    if not isinstance(find_or_install(), Path):
        return  # A container belongs to its engine.
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    port, folder = (await soon(owner.stdout.readline())).decode().split()
    assert not is_free(int(port))

    owner.kill()
    await soon(owner.communicate())

    await until(lambda: is_free(int(port)) and not Path(folder).exists())
