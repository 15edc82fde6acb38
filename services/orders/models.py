"""Orders in requests, responses and events. Money is in cents."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

_ADDRESS: Final = r'^[^@\s()<>\[\]:;,\\"]+@[^@\s()<>\[\]:;,\\"]+$'
"""A text without the special characters of a mail address (RFC 5322, section 3.2.3)."""

Sku = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,40}$")]
Status = Literal["placed", "confirmed", "cancelled", "undeliverable"]


class Line(BaseModel):
    """A number of pieces of one article."""

    sku: Sku
    count: int = Field(ge=1, le=1000)


class NewOrder(BaseModel):
    """The order that a customer places."""

    customer: str = Field(pattern=_ADDRESS, max_length=200, description="e-mail")
    lines: list[Line] = Field(min_length=1, max_length=50)


class Order(NewOrder):
    """An order as it stands; `reason` says why it was cancelled, or is undeliverable."""

    customer: str  # Not validated: orders that were once stored stay readable.
    order_id: str
    status: Status = "placed"
    total: int
    placed: datetime
    reason: str = ""


class OrderPage(BaseModel):
    """Some orders, by their ids; `next` is the `after` of the next page, null on the last."""

    orders: list[Order]
    next: str | None


class Hold(BaseModel):
    """A request to inventory to reserve articles."""

    order_id: str
    lines: list[Line]


class Reservation(BaseModel):
    """Inventory's response: the prices, or the missing articles."""

    prices: dict[str, int]
    missing: list[str]


class Payment(BaseModel):
    """The outcome of a payment."""

    order_id: str
    reason: str = ""


class Expired(BaseModel):
    """A reservation that has expired."""

    order_id: str


class Undeliverable(BaseModel):
    """An order that cannot be shipped."""

    order_id: str
    reason: str


class Reminder(BaseModel):
    """A parcel that was handed over a day ago."""

    order_id: str
    customer: str
    tracking: str
