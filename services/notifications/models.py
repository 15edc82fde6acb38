"""What customers are told of their orders, and the mails about it. Money is in cents."""

from typing import Literal

from pydantic import BaseModel

Status = Literal["confirmed", "cancelled", "undeliverable"]
Kind = Literal[Status, "reminder"]


class EndedOrder(BaseModel):
    """An order that was confirmed, cancelled or not delivered; `reason` says why not."""

    order_id: str
    customer: str
    total: int
    status: Status
    reason: str = ""


class Reminder(BaseModel):
    """A parcel that was handed over a day ago."""

    order_id: str
    customer: str
    tracking: str


class Mail(BaseModel):
    """One mail; there is one of each kind for an order."""

    order_id: str
    kind: Kind
    to: str
    subject: str
    text: str

    @property
    def key(self) -> str:
        return f"{self.order_id}.{self.kind}"


class Ledger(BaseModel):
    """The number of sent mails by kind."""

    confirmed: int = 0
    cancelled: int = 0
    undeliverable: int = 0
    reminder: int = 0
