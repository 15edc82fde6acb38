"""The database of reports: one row an order, and the days that were closed.

Each transaction begins with a write: two of them then wait for each other and never fail halfway,
on SQLite too, where a reader cannot become a writer once somebody else has written.
"""

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

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
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .models import Day, Order

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
    """What was heard of the orders. Heard twice, or in the wrong order, it is the same."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def hear(self, order: Order) -> None:
        """Note an order as an event has it; that it was placed says nothing once it has ended."""
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
        """The sums of each day on which something was ordered, as they are now."""
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
        """Keep the sums of a day, in place of those that were kept of it before."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                update(_days).where(_days.c.day == day.day).values(day.model_dump())
            )
            if changed.rowcount == 0:
                await connection.execute(insert(_days).values(day.model_dump()))

    async def closed(self, limit: int) -> list[Day]:
        """The latest days that were closed, the latest one first."""
        query = select(_days).order_by(_days.c.day.desc()).limit(limit)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
            return [Day.model_validate(row) for row in rows.mappings()]

    async def orders(self) -> AsyncGenerator[Order]:
        """All orders by their ids, read as they are asked for."""
        query = select(_orders).order_by(_orders.c.order_id)
        async with self._engine.connect() as connection:
            rows = await connection.stream(query.execution_options(yield_per=500))
            async for row in rows.mappings():
                # SQLite keeps no offsets; all times are in UTC.
                placed = row["placed"].replace(tzinfo=dt.UTC)
                yield Order.model_validate(dict(row) | {"placed": placed})


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Store]:
    """The store in the database at `url`, whose tables are made where they are missing."""
    engine = create_async_engine(url)
    try:
        await _prepare(engine)
        yield Store(engine)
    finally:
        await engine.dispose()


async def _prepare(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Readers do not wait for the writer then; and replicas make the tables one by one.
            await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        await connection.run_sync(_metadata.create_all)
        await connection.commit()
