"""A connection to SQLite lets go of its lock however it ends."""

import sqlite3
from pathlib import Path

import pytest

from eventmesh.store.sqlite_connection import SqliteConnection


@pytest.mark.parametrize("how", ["close", "stop"])
async def test_an_open_cursor_holds_no_lock_once_its_connection_is_closed(
    tmp_path: Path, how: str
) -> None:
    file = str(tmp_path / "db")
    connection = await SqliteConnection(file, check_same_thread=False, isolation_level=None)
    await connection.execute("CREATE TABLE rows (id INTEGER)")
    await connection.execute("INSERT INTO rows VALUES (1), (2)")
    await connection.execute("BEGIN IMMEDIATE")
    # As of a statement in which a task was cancelled: nobody reads the rest of it.
    cursor = await connection.execute("SELECT id FROM rows")
    await cursor.fetchone()
    if how == "close":
        await connection.close()
    else:
        await connection.stop()
    other = sqlite3.connect(file, timeout=0)
    other.execute("INSERT INTO rows VALUES (3)")
    other.close()
    del cursor


async def test_it_is_closed_twice_without_an_error(tmp_path: Path) -> None:
    connection = await SqliteConnection(str(tmp_path / "db"))
    await connection.close()
    await connection.close()
