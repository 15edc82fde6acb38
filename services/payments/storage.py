"""The database of payments.

Each transaction begins with a write. Concurrent ones then wait for each other and never fail
halfway, also on SQLite, where a reader cannot become a writer after another one has written.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import (
    BigInteger,
    Column,
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

from .models import Ledger, Payment, Status

_metadata = MetaData()
_payments = Table(
    "payments",
    _metadata,
    Column("order_id", String(64), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", String(500), nullable=False),
)


class Store:
    """The payments: one for each order, pending until it is decided once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, order_id: str, amount: int) -> Payment:
        """Return the payment of an order, or create it as pending."""
        payment = Payment(order_id=order_id, amount=amount, status="pending")
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(_payments).values(payment.model_dump()))
        except IntegrityError:
            async with self._engine.connect() as connection:
                return await _payment(connection, order_id) or payment
        return payment

    async def decide(self, order_id: str, status: Status, reason: str = "") -> Payment:
        """Give a pending payment its outcome, and return it. A decided payment stays as it is."""
        return await self._change(order_id, "pending", status, reason)

    async def refund(self, order_id: str) -> Payment:
        """Record the refund of a payment, if it succeeded."""
        return await self._change(order_id, "succeeded", "refunded")

    async def payment(self, order_id: str) -> Payment | None:
        async with self._engine.connect() as connection:
            return await _payment(connection, order_id)

    async def ledger(self) -> Ledger:
        query = select(_payments.c.status, func.count(), func.sum(_payments.c.amount)).group_by(
            _payments.c.status
        )
        async with self._engine.connect() as connection:
            sums = {
                status: (count, amount) for status, count, amount in await connection.execute(query)
            }
        counts = {status: count for status, (count, _) in sums.items()}
        nothing = {"pending": 0, "succeeded": 0, "failed": 0, "refunded": 0}
        return Ledger.model_validate(
            nothing | counts | {"amount": sums.get("succeeded", (0, 0))[1]}
        )

    async def _change(self, order_id: str, old: Status, new: Status, reason: str = "") -> Payment:
        async with self._engine.begin() as connection:
            await connection.execute(
                update(_payments)
                .where(_payments.c.order_id == order_id, _payments.c.status == old)
                .values(status=new, reason=reason[:500])
            )
            payment = await _payment(connection, order_id)
        if payment is None:
            raise LookupError(f"order {order_id} has no payment: begin one first")
        return payment


async def _payment(connection: AsyncConnection, order_id: str) -> Payment | None:
    rows = await connection.execute(select(_payments).where(_payments.c.order_id == order_id))
    row = rows.mappings().first()
    return None if row is None else Payment.model_validate(row)


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
