"""The database of mails: those that were sent."""

from datetime import datetime

from sqlalchemy import DateTime, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The tables of this service."""


class SentMail(Base):
    """A mail that the mail server has taken."""

    __tablename__ = "mails"

    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    sent: Mapped[datetime] = mapped_column(DateTime(timezone=True))
