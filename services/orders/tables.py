"""The database of orders."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, DateTime, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .models import Order

ABANDONED: Final = "abandoned"
"""The status of an id without an order, under which none may be placed any more."""


class Base(DeclarativeBase):
    """The tables of this service."""


class OrderRow(Base):
    """An order as it stands."""

    __tablename__ = "orders"
    __table_args__ = (Index("orders_by_status", "status", "order_id"),)

    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer: Mapped[str] = mapped_column(String(200))
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    total: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(500))
    placed: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def to_row(order: Order) -> OrderRow:
    """Return the row of an order."""
    lines = [line.model_dump() for line in order.lines]
    return OrderRow(**order.model_dump() | {"lines": lines})


def abandoned_row(order_id: str, now: datetime) -> OrderRow:
    """Return the row of an id without an order."""
    return OrderRow(
        order_id=order_id, customer="", lines=[], total=0, status=ABANDONED, reason="", placed=now
    )


def from_row(row: OrderRow) -> Order:
    """Return the order of a row."""
    columns = {name: getattr(row, name) for name in Order.model_fields}
    # SQLite keeps no offsets; all times are in UTC.
    return Order.model_validate(columns | {"placed": row.placed.replace(tzinfo=UTC)})
