"""A connection to SQLite that lets go of its lock however it ends."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import aiosqlite

_CHUNK: Final = 64


class SqliteConnection(aiosqlite.Connection):
    """Rolls back before it is closed.

    If a task is cancelled in a statement, its connection is closed with a cursor that is open.
    SQLite keeps such a connection, and with it the lock of a writer, until that cursor is garbage
    (https://www.sqlite.org/c3ref/close.html): nobody could write before.
    """

    def __init__(self, file: str, **options: Any) -> None:
        """`options` are those of `sqlite3.connect`."""
        super().__init__(partial(sqlite3.connect, file, **options), _CHUNK)
        # A process that ends does not wait for it.
        self._thread.daemon = True

    async def close(self) -> None:
        self._let_go_later()
        await super().close()

    def stop(self) -> Any:
        self._let_go_later()
        return cast(Any, super()).stop()

    def _let_go_later(self) -> None:
        """Roll back in the connection's thread, behind the statement that runs there."""
        self._tx.put_nowait((None, self._let_go))  # pyright: ignore[reportUnknownMemberType]

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):  # It is closed already.
                self._connection.rollback()
