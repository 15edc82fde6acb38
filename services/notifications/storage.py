"""The database of mails: those that were sent, and those that are being sent."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    MetaData,
    String,
    Table,
    and_,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from .models import Ledger, Mail

_metadata = MetaData()
_mails = Table(
    "mails",
    _metadata,
    Column("order_id", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("claimed_until", DateTime(timezone=True), nullable=False),
    Column("sent", DateTime(timezone=True)),
)


class Store:
    """The mails that were sent, and those that are claimed for sending."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def claim(self, mail: Mail, now: datetime, until: datetime) -> bool:
        """Claim a mail for sending; False if it was sent, or is claimed until later than `now`.

        Only one of several concurrent calls succeeds: a row is inserted once, and updated by one at
        a time.
        """
        row = {"order_id": mail.order_id, "kind": mail.kind, "claimed_until": until}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(_mails).values(row))
        except IntegrityError:
            free = and_(_is_open(mail), _mails.c.claimed_until <= now)
            async with self._engine.begin() as connection:
                claimed = await connection.execute(
                    update(_mails).where(free).values(claimed_until=until)
                )
            return claimed.rowcount == 1
        return True

    async def release(self, mail: Mail, now: datetime) -> None:
        """Let others claim a mail that was not sent."""
        async with self._engine.begin() as connection:
            await connection.execute(update(_mails).where(_is_open(mail)).values(claimed_until=now))

    async def record(self, mail: Mail, now: datetime) -> None:
        """Record that a claimed mail was sent; a second call changes nothing."""
        async with self._engine.begin() as connection:
            await connection.execute(update(_mails).where(_is_open(mail)).values(sent=now))

    async def is_sent(self, mail: Mail) -> bool:
        query = select(_mails.c.sent).where(_is(mail))
        async with self._engine.connect() as connection:
            return await connection.scalar(query) is not None

    async def ledger(self) -> Ledger:
        sent = _mails.c.sent.is_not(None)
        query = select(_mails.c.kind, func.count()).where(sent).group_by(_mails.c.kind)
        async with self._engine.connect() as connection:
            counts: dict[str, int] = dict((await connection.execute(query)).all())
        return Ledger.model_validate({"confirmed": 0, "cancelled": 0} | counts)


def _is(mail: Mail) -> ColumnElement[bool]:
    return and_(_mails.c.order_id == mail.order_id, _mails.c.kind == mail.kind)


def _is_open(mail: Mail) -> ColumnElement[bool]:
    return and_(_is(mail), _mails.c.sent.is_(None))


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Store]:
    """Open the store in the database at `url`, and create missing tables."""
    engine = _engine(url)
    try:
        await _prepare(engine)
        yield Store(engine)
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url)
    # SQLite's writers poll for the lock. Tasks that wait for the one connection do not.
    engine = create_async_engine(url, pool_size=1, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _sync_rarely)
    return engine


def _sync_rarely(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Sync rarely: a crash of the process loses nothing, one of the machine the last moments."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


async def _prepare(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Readers then do not wait for the writer, and replicas create the tables in turns.
            await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        await connection.run_sync(_metadata.create_all)
        await connection.commit()
