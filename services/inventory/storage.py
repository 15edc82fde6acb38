"""The database of articles and reservations.

Each transaction begins with a write. Concurrent ones then wait for each other and never fail
halfway, also on SQLite, where a reader cannot become a writer after another one has written.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from .models import Hold, Item, Ledger, Reservation, Stock

SEED: Final = {"tea": Stock(price=450, available=1000), "pot": Stock(price=3900, available=50)}
"""The stock of a new shop."""

_metadata = MetaData()
_items = Table(
    "items",
    _metadata,
    Column("sku", String(40), primary_key=True),
    Column("price", BigInteger, nullable=False),
    Column("available", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("sold", Integer, nullable=False),
)
_reservations = Table(
    "reservations",
    _metadata,
    Column("order_id", String(64), primary_key=True),
    Column("counts", JSON, nullable=False),
    Column("prices", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("expires", DateTime(timezone=True), nullable=False),
    Index("reservations_by_expiry", "status", "expires"),
)


class _OutOfStock(Exception):
    """Rolls back the transaction of an order with missing articles."""


class Store:
    """The articles and the reservations. Pieces only move: available, reserved, sold."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def reserve(self, hold: Hold, expires: datetime) -> Reservation:
        """Reserve all lines of an order, or none. The same counts return the same reservation."""
        counts = Counter[str]()
        for line in hold.lines:
            counts[line.sku] += line.count
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(_reservations).values(_held(hold, counts, expires)))
                prices = await _take(connection, counts)
                await connection.execute(
                    update(_reservations)
                    .where(_reservations.c.order_id == hold.order_id)
                    .values(prices=prices)
                )
        except _OutOfStock as missing:
            return Reservation(missing=list(missing.args))
        except IntegrityError:
            return await self._reserved(hold.order_id, counts)
        return Reservation(prices=prices)

    async def commit(self, order_id: str) -> bool:
        """Sell the articles held for an order; False if nothing is held."""
        return await self._end(order_id, "committed", "sold")

    async def release(self, order_id: str) -> bool:
        """Make the articles held for an order available again; False if nothing is held."""
        return await self._end(order_id, "released", "available")

    async def is_held(self, order_id: str) -> bool:
        query = select(_reservations.c.status).where(_reservations.c.order_id == order_id)
        async with self._engine.connect() as connection:
            return await connection.scalar(query) == "held"

    async def expired(self, now: datetime, limit: int) -> list[str]:
        """List orders whose reservations are overdue."""
        query = (
            select(_reservations.c.order_id)
            .where(_reservations.c.status == "held", _reservations.c.expires <= now)
            .order_by(_reservations.c.expires)
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            return list(await connection.scalars(query))

    async def extend(self, order_id: str, expires: datetime) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(
                update(_reservations)
                .where(_reservations.c.order_id == order_id)
                .values(expires=expires)
            )

    async def items(self) -> list[Item]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(_items).order_by(_items.c.sku))
            return [Item.model_validate(row) for row in rows.mappings()]

    async def put(self, sku: str, stock: Stock) -> None:
        """Set an article's price and available pieces; create it if there is none."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                update(_items).where(_items.c.sku == sku).values(stock.model_dump())
            )
            if changed.rowcount == 0:
                await connection.execute(insert(_items).values(_new(sku, stock)))

    async def ledger(self) -> Ledger:
        pieces = select(
            func.coalesce(func.sum(_items.c.available), 0).label("available"),
            func.coalesce(func.sum(_items.c.reserved), 0).label("reserved"),
            func.coalesce(func.sum(_items.c.sold), 0).label("sold"),
        )
        statuses = select(_reservations.c.status, func.count()).group_by(_reservations.c.status)
        async with self._engine.connect() as connection:
            sums = (await connection.execute(pieces)).mappings().one()
            counts: dict[str, int] = dict((await connection.execute(statuses)).all())
        return Ledger(
            held=counts.get("held", 0),
            committed=counts.get("committed", 0),
            released=counts.get("released", 0),
            **sums,
        )

    async def _reserved(self, order_id: str, counts: Counter[str]) -> Reservation:
        query = select(_reservations).where(_reservations.c.order_id == order_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one()
        if row["status"] == "released":
            return Reservation(refused="released")
        if row["counts"] != dict(counts):
            return Reservation(refused="conflict")
        return Reservation(prices=row["prices"])

    async def _end(self, order_id: str, status: str, to: Literal["sold", "available"]) -> bool:
        async with self._engine.begin() as connection:
            ended = await connection.execute(
                update(_reservations)
                .where(_reservations.c.order_id == order_id, _reservations.c.status == "held")
                .values(status=status)
            )
            if ended.rowcount == 0:
                return False
            query = select(_reservations.c.counts).where(_reservations.c.order_id == order_id)
            counts: dict[str, int] = (await connection.execute(query)).scalar_one()
            for sku, count in sorted(counts.items()):
                moved = {"reserved": _items.c.reserved - count, to: _items.c[to] + count}
                await connection.execute(update(_items).where(_items.c.sku == sku).values(moved))
        return True


async def _take(connection: AsyncConnection, counts: Counter[str]) -> dict[str, int]:
    """Move the pieces from available to reserved, and return their prices."""
    prices: dict[str, int] = {}
    missing: list[str] = []
    for sku, count in sorted(counts.items()):  # A fixed order of locks: no deadlock.
        taken = await connection.execute(
            update(_items)
            .where(_items.c.sku == sku, _items.c.available >= count)
            .values(available=_items.c.available - count, reserved=_items.c.reserved + count)
        )
        if taken.rowcount == 0:
            missing.append(sku)
        else:
            price = select(_items.c.price).where(_items.c.sku == sku)
            prices[sku] = (await connection.execute(price)).scalar_one()
    if missing:
        raise _OutOfStock(*missing)
    return prices


def _held(hold: Hold, counts: Counter[str], expires: datetime) -> dict[str, Any]:
    row = {"order_id": hold.order_id, "counts": dict(counts), "prices": {}}
    return row | {"status": "held", "expires": expires}


def _new(sku: str, stock: Stock) -> dict[str, Any]:
    return {"sku": sku, **stock.model_dump(), "reserved": 0, "sold": 0}


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Store]:
    """Open the store in the database at `url`, and create and fill missing tables."""
    engine = _engine(url)
    try:
        await _prepare(engine, [_new(sku, stock) for sku, stock in SEED.items()])
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


async def _prepare(engine: AsyncEngine, seed: Iterable[dict[str, Any]]) -> None:
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Readers then do not wait for the writer, and replicas create the tables in turns.
            await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        await connection.run_sync(_metadata.create_all)
        if not await connection.scalar(select(func.count()).select_from(_items)):
            await connection.execute(insert(_items), list(seed))
        await connection.commit()
