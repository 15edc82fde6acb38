"""The database of reports: one row for each order, and the days that were closed."""

import datetime as dt

from sqlalchemy import BigInteger, DateTime, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The tables of this service."""


class OrderRow(Base):
    """An order, as in its latest event."""

    __tablename__ = "reported_orders"

    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer: Mapped[str] = mapped_column(String(200))
    total: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    placed: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    day: Mapped[dt.date] = mapped_column(index=True)


class DayRow(Base):
    """The sums of a day, as they were when it was closed."""

    __tablename__ = "days"

    day: Mapped[dt.date] = mapped_column(primary_key=True)
    placed: Mapped[int]
    confirmed: Mapped[int]
    cancelled: Mapped[int]
    revenue: Mapped[int] = mapped_column(BigInteger)
