"""The database of reports: one row for each order, and the days that were closed.

Each transaction begins with a write. Concurrent ones then wait for each other and never fail
halfway, also on SQLite, where a reader cannot become a writer after another one has written.
"""

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    case,
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

from .models import Day, Order

_PAGE: Final = 500

_metadata = MetaData()
_orders = Table(
    "orders",
    _metadata,
    Column("order_id", String(64), primary_key=True),
    Column("customer", String(200), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("placed", DateTime(timezone=True), nullable=False),
    Column("day", Date, nullable=False, index=True),
)
_days = Table(
    "days",
    _metadata,
    Column("day", Date, primary_key=True),
    Column("placed", Integer, nullable=False),
    Column("confirmed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("revenue", BigInteger, nullable=False),
)


class Store:
    """The orders by their events. Repeated and reordered events give the same rows."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, order: Order) -> None:
        """Store an order from an event; a late `placed` does not change one that has ended."""
        placed = order.placed.astimezone(dt.UTC)
        row = order.model_dump() | {"placed": placed, "day": placed.date()}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(_orders).values(row))
        except IntegrityError:
            if order.status == "placed":
                return
            async with self._engine.begin() as connection:
                await connection.execute(
                    update(_orders)
                    .where(_orders.c.order_id == order.order_id)
                    .values(status=order.status)
                )

    async def days(self, first: dt.date, last: dt.date) -> list[Day]:
        """Sum up each day with orders, as it is now."""
        confirmed = _orders.c.status == "confirmed"
        query = (
            select(
                _orders.c.day,
                func.count().label("placed"),
                func.sum(case((confirmed, 1), else_=0)).label("confirmed"),
                func.sum(case((_orders.c.status == "cancelled", 1), else_=0)).label("cancelled"),
                func.sum(case((confirmed, _orders.c.total), else_=0)).label("revenue"),
            )
            .where(_orders.c.day.between(first, last))
            .group_by(_orders.c.day)
            .order_by(_orders.c.day)
        )
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
            return [Day.model_validate(row) for row in rows.mappings()]

    async def close(self, day: Day) -> None:
        """Store the sums of a day, and replace those stored before."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                update(_days).where(_days.c.day == day.day).values(day.model_dump())
            )
            if changed.rowcount == 0:
                await connection.execute(insert(_days).values(day.model_dump()))

    async def closed(self, limit: int) -> list[Day]:
        """List the closed days, the latest one first."""
        query = select(_days).order_by(_days.c.day.desc()).limit(limit)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
            return [Day.model_validate(row) for row in rows.mappings()]

    async def orders(self) -> AsyncGenerator[Order]:
        """Yield all orders by their ids, in pages, so that no connection is held meanwhile."""
        page = await self._page("")
        while page:
            for order in page:
                yield order
            page = await self._page(page[-1].order_id)

    async def _page(self, after: str) -> list[Order]:
        query = select(_orders).where(_orders.c.order_id > after)
        query = query.order_by(_orders.c.order_id).limit(_PAGE)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
            # SQLite keeps no offsets; all times are in UTC.
            return [
                Order.model_validate(dict(row) | {"placed": row["placed"].replace(tzinfo=dt.UTC)})
                for row in rows.mappings()
            ]


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
