"""The database of orders, and the outbox beside them.

Each transaction begins with a write. Concurrent ones then wait for each other and never fail
halfway, also on SQLite, where a reader cannot become a writer after another one has written.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    MetaData,
    RowMapping,
    String,
    Table,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from .models import Order, OrderPage, Status

ABANDONED: Final = "abandoned"
"""The status of an id without an order, under which none may be placed any more."""

_metadata = MetaData()
_orders = Table(
    "orders",
    _metadata,
    Column("order_id", String(64), primary_key=True),
    Column("customer", String(200), nullable=False),
    Column("lines", JSON, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("placed", DateTime(timezone=True), nullable=False),
    Index("orders_by_status", "status", "order_id"),
)
_outbox = Table(
    "outbox",
    _metadata,
    Column("event_id", String(64), primary_key=True),
    Column("type", String(100), nullable=False),
    Column("data", JSON, nullable=False),
    Column("stored", DateTime(timezone=True), nullable=False, index=True),
)


class OutboxEvent(NamedTuple):
    """A stored event that is still to be emitted."""

    event_id: str
    type: str
    data: dict[str, Any]


class Store:
    """The orders, and the events of them that are still to be emitted."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def place(self, order: Order, event: OutboxEvent) -> bool:
        """Store the order and its event, both or neither; False if the order exists."""
        row = order.model_dump() | {"lines": [line.model_dump() for line in order.lines]}
        posted = event._asdict() | {"stored": order.placed}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(_orders).values(row))
                await connection.execute(insert(_outbox).values(posted))
        except IntegrityError:
            return False
        return True

    async def order(self, order_id: str) -> Order | None:
        async with self._engine.connect() as connection:
            return await _order(connection, order_id)

    async def page(self, status: Status | None, after: str, limit: int) -> OrderPage:
        """List the orders after the id `after`, of one status or of any."""
        query = select(_orders).where(_orders.c.order_id > after)
        query = query.where(_orders.c.status == status if status else _orders.c.status != ABANDONED)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query.order_by(_orders.c.order_id).limit(limit + 1))
            orders = [_from_row(row) for row in rows.mappings()]
        return OrderPage(
            orders=orders[:limit], next=orders[limit - 1].order_id if orders[limit:] else None
        )

    async def close(self, order_id: str, status: Status, reason: str = "") -> Order | None:
        """Give a placed order its final status, and return it; None if there is none.

        An order that already has its final status keeps it.
        """
        async with self._engine.begin() as connection:
            await connection.execute(
                update(_orders)
                .where(_orders.c.order_id == order_id, _orders.c.status == "placed")
                .values(status=status, reason=reason[:500])
            )
            return await _order(connection, order_id)

    async def abandon(self, order_id: str, now: datetime) -> bool:
        """Forbid an order under this id from now on; False if there is one."""
        row: dict[str, Any] = {"order_id": order_id, "customer": "", "lines": [], "total": 0}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(_orders).values(row | {"status": ABANDONED, "reason": "", "placed": now})
                )
        except IntegrityError:
            return await self.order(order_id) is None
        return True

    async def waiting(self, before: datetime, limit: int) -> list[OutboxEvent]:
        """List the events that are in the outbox since `before`, the oldest first."""
        query = select(_outbox.c.event_id, _outbox.c.type, _outbox.c.data)
        query = query.where(_outbox.c.stored <= before).order_by(_outbox.c.stored).limit(limit)
        async with self._engine.connect() as connection:
            return [OutboxEvent(*row) for row in await connection.execute(query)]

    async def emitted(self, event_id: str) -> None:
        """Delete an emitted event from the outbox."""
        async with self._engine.begin() as connection:
            await connection.execute(delete(_outbox).where(_outbox.c.event_id == event_id))


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


async def _order(connection: AsyncConnection, order_id: str) -> Order | None:
    rows = await connection.execute(
        select(_orders).where(_orders.c.order_id == order_id, _orders.c.status != ABANDONED)
    )
    row = rows.mappings().first()
    return None if row is None else _from_row(row)


def _from_row(row: RowMapping) -> Order:
    # SQLite keeps no offsets; all times are in UTC.
    return Order.model_validate(dict(row) | {"placed": row["placed"].replace(tzinfo=UTC)})
