"""The database of mails that were sent."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import Column, DateTime, MetaData, String, Table, event, func, insert, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from .models import Ledger, Mail

_metadata = MetaData()
_sent = Table(
    "sent_mails",
    _metadata,
    Column("order_id", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("sent", DateTime(timezone=True), nullable=False),
)


class Store:
    """Which mails were sent."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def sent(self, mails: Collection[Mail]) -> set[str]:
        """The keys of those mails that were sent already, and maybe some more."""
        orders = {mail.order_id for mail in mails}
        query = select(_sent.c.order_id, _sent.c.kind).where(_sent.c.order_id.in_(orders))
        async with self._engine.connect() as connection:
            return {f"{order_id}.{kind}" for order_id, kind in await connection.execute(query)}

    async def record(self, mail: Mail, now: datetime) -> None:
        """Note that a mail was sent; a second time changes nothing."""
        row = {"order_id": mail.order_id, "kind": mail.kind, "sent": now}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(_sent).values(row))
        except IntegrityError:
            if mail.key not in await self.sent([mail]):
                raise

    async def ledger(self) -> Ledger:
        query = select(_sent.c.kind, func.count()).group_by(_sent.c.kind)
        async with self._engine.connect() as connection:
            counts: dict[str, int] = dict((await connection.execute(query)).all())
        return Ledger.model_validate({"confirmed": 0, "cancelled": 0} | counts)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Store]:
    """The store in the database at `url`, whose tables are made where they are missing."""
    engine = _engine(url)
    try:
        await _prepare(engine)
        yield Store(engine)
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url)
    # SQLite's writers poll for their turn. Who waits for the process's one connection polls not.
    engine = create_async_engine(url, pool_size=1, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _sync_rarely)
    return engine


def _sync_rarely(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """A process that dies loses nothing then; a machine that does may lose the last moments."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


async def _prepare(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Readers do not wait for the writer then; and replicas make the tables one by one.
            await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        await connection.run_sync(_metadata.create_all)
        await connection.commit()
