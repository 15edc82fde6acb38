"""One database: its engine, the deadlines of everything done with it, and what differs by dialect.

SQLite has one writer at a time, and who waits for it polls. So a process has one connection to it,
for which tasks wait in turn, and each transaction begins as a writer (BEGIN IMMEDIATE): one that
began as a reader could not become a writer after another process had written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from eventmesh.model.errors import SettingsError, StoreUnavailable
from eventmesh.store.sqlite_connection import SqliteConnection
from eventmesh.store.urls import StoreUrl

CONNECT_SECONDS: Final = 5.0
POOL_SECONDS: Final = 10.0
STATEMENT_SECONDS: Final = 30.0
"""The limits for opening a connection, for waiting for a free one, and for one statement."""

POOL_SIZE: Final = 10
POOL_OVERFLOW: Final = 10
"""Connections to PostgreSQL that a process keeps, and more that it opens for a while."""

RECENT_SECONDS: Final = 0.5
"""A connection that was used within this time is taken to be open: no server restarts in that."""

_USED: Final = "eventmesh_used"

_BUSY_SECONDS: Final = 10.0
"""How long a SQLite writer of this process waits for one of another process."""


class Database:
    """An engine on the database at a URL. Closing it closes its connections.

    Raises SettingsError for a file in a folder that does not exist.
    """

    def __init__(self, url: StoreUrl) -> None:
        self.url = url
        self.engine: AsyncEngine = _build_engine(url)
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL; otherwise it is SQLite."""
        return self.url.dialect == "postgresql"

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection]:
        """Open a transaction of the store's own, which ends with the block.

        Raises StoreUnavailable where the database is away.
        """
        with self.working(), self.translated():
            async with self.engine.begin() as connection:
                yield connection

    @contextmanager
    def working(self) -> Generator[None]:
        """Have `wait_idle` wait for the end of the block."""
        self._working += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._working -= 1
            if not self._working:
                self._idle.set()

    async def wait_idle(self) -> bool:
        """Wait until no transaction of the store's own is open; False if none was."""
        if self._idle.is_set():
            return False
        await self._idle.wait()
        return True

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise StoreUnavailable for what says that the database cannot be used now."""
        try:
            yield
        except _FOREIGN as error:
            reason = find_outage(error)
            if reason is None:
                raise
            raise StoreUnavailable(
                f"the database {self.url.shown} cannot be used now ({reason}): it is tried again; "
                "check that it runs and can be reached"
            ) from error

    async def connect_driver(self) -> Any:
        """Open a connection of PostgreSQL's driver, which its caller closes."""
        return await _connect_driver(self.url)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def find_outage(error: BaseException) -> str | None:
    """Return the reason if an error says that the database is away or too busy; else None.

    No text of a statement, and no parameter of one, is in it.
    """
    if is_session_lost(error):
        return (
            "a pooler lends its connections for single transactions: add ?pgbouncer=true to the URL"
        )
    if isinstance(error, PoolTimeout):
        return f"no connection was free within {POOL_SECONDS:g} s"
    if isinstance(error, DBAPIError):
        original: BaseException | None = error.orig
        if original is not None and original.__cause__ is not None:
            original = original.__cause__
        if error.connection_invalidated or (original is not None and _is_outage(original)):
            return _describe(original or error)
        return None
    return _describe(error) if _is_outage(error) else None


def is_session_lost(error: BaseException) -> bool:
    """Whether a statement that was prepared is unknown: another session got the execution."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _SESSION_LOST):
            return True
        cause = cause.orig if isinstance(cause, DBAPIError) else cause.__cause__
    return False


_SESSION_LOST: Final = (
    asyncpg.exceptions.InvalidSQLStatementNameError,
    asyncpg.exceptions.DuplicatePreparedStatementError,
)

_FOREIGN: Final = (
    SQLAlchemyError,
    OSError,
    TimeoutError,
    # As they are, where it was connecting.
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
"""What may be raised by using a database."""

_BUSY: Final = ("database is locked", "database table is locked")
_AWAY: Final = (
    asyncpg.PostgresConnectionError,  # Class 08.
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,  # Class 28: a password is replaced.
    asyncpg.exceptions.OperatorInterventionError,  # Class 57: it stops, or it starts.
    asyncpg.exceptions.InsufficientResourcesError,  # Class 53: too many connections.
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # A replica: the primary is elsewhere now.
    asyncpg.InterfaceError,
    ConnectionError,
    TimeoutError,
    OSError,
)


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, asyncpg.exceptions.QueryCanceledError):
        return False  # Of class 57, and the statement's own fault.
    if isinstance(error, asyncpg.InterfaceError):
        return "clos" in str(error)  # "connection is closed"; others are misuse.
    return isinstance(error, _AWAY) or any(text in str(error) for text in _BUSY)


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).partition("\n")[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def _connect_driver(url: StoreUrl) -> Any:
    # The driver reads the URL itself, with all options that psql knows, such as sslmode.
    return await cast(Any, asyncpg).connect(
        url.address,
        # Read for each connection: the file may have got another one.
        password=url.read_password(),
        timeout=CONNECT_SECONDS,
        command_timeout=STATEMENT_SECONDS,
        # With 0 it names none, and sends each again with every execution: the pooler may have lent
        # another connection meanwhile, which knows no name of this one.
        statement_cache_size=0 if url.pooler else 100,
        server_settings={"application_name": "eventmesh", "timezone": "UTC"},
    )


def _build_engine(url: StoreUrl) -> AsyncEngine:
    if url.dialect == "sqlite":
        return _build_sqlite(url.file)
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(_connect_driver, url),
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,
    )
    _check_idle(engine)
    return engine


def _check_idle(engine: AsyncEngine) -> None:
    """Find connections that a restart or a firewall has ended before they are used.

    As `pool_pre_ping` does, but not for those that were used a moment ago: asking costs three round
    trips, and a step of a durable function has five.
    """

    def note(_: object, record: ConnectionPoolEntry) -> None:
        record.info[_USED] = time.monotonic()

    def check(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        used: float = record.info.get(_USED, 0.0)
        if not used or time.monotonic() - used < RECENT_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except (engine.dialect.loaded_dbapi.Error, OSError) as error:
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", note)
    event.listen(engine.sync_engine, "checkout", check)


def log_failed_chore(log: logging.Logger, what: str, error: Exception) -> None:
    """Log why work in the background has failed, which is tried again soon.

    Of an outage others tell. Anything else, such as a missing right, somebody has to mend: until
    then tables grow, and nothing else shows it.
    """
    level = (
        logging.DEBUG if isinstance(error, (StoreUnavailable, TimeoutError)) else logging.WARNING
    )
    log.log(level, "%s, which is tried again", what, exc_info=error)


def _build_sqlite(file: str) -> AsyncEngine:
    # The driver's thread would end with an error of its own.
    if file and not Path(file).parent.is_dir():
        raise SettingsError(
            f"the store sqlite:///{file} cannot be used: create its folder, and let the user of "
            "this process write there"
        )
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{file}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        connect_args={"timeout": _BUSY_SECONDS, "async_creator_fn": SqliteConnection},
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    # Otherwise the driver begins transactions itself, and late.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Readers of other processes do not wait for the writer. A crash of the process then loses
    # nothing, one of the machine the last moments.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
