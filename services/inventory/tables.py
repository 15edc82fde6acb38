"""The database of articles and reservations."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Connection, DateTime, String, Table, event, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SEED: Final = [
    {"sku": "tea", "price": 450, "available": 1000, "reserved": 0, "sold": 0},
    {"sku": "pot", "price": 3900, "available": 50, "reserved": 0, "sold": 0},
]
"""The stock of a new shop."""


class Base(DeclarativeBase):
    """The tables of this service."""


class ItemRow(Base):
    """An article. Its pieces only move: available, reserved, sold."""

    __tablename__ = "items"

    sku: Mapped[str] = mapped_column(String(40), primary_key=True)
    price: Mapped[int] = mapped_column(BigInteger)
    available: Mapped[int]
    reserved: Mapped[int] = mapped_column(default=0)
    sold: Mapped[int] = mapped_column(default=0)


class ReservationRow(Base):
    """The pieces that are held for an order, or were."""

    __tablename__ = "reservations"

    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(16))
    expires: Mapped[datetime] = mapped_column(DateTime(timezone=True))


@event.listens_for(ItemRow.__table__, "after_create")
def _stock(table: Table, connection: Connection, **_: Any) -> None:
    connection.execute(insert(table), SEED)
