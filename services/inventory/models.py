"""Articles, and what is held of them for an order. Money is in cents."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Sku = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,40}$")]


class Stock(BaseModel):
    """What is written of an article: its price, and how many pieces may be sold."""

    price: int = Field(ge=0)
    available: int = Field(ge=0)


class Item(Stock):
    """An article; `reserved` pieces are held for orders, `sold` ones belong to them."""

    sku: Sku
    reserved: int
    sold: int


class Line(BaseModel):
    """So many pieces of one article."""

    sku: Sku
    count: int = Field(ge=1)


class Hold(BaseModel):
    """What is to be reserved for an order."""

    order_id: str
    lines: list[Line]


class Reservation(BaseModel):
    """The prices of what is held; or what is not in stock, or why it was refused.

    It is refused if other counts were reserved for the order ("conflict"), and once what was
    reserved has been released: that stays so.
    """

    prices: dict[str, int] = {}
    missing: list[str] = []
    refused: Literal["conflict", "released"] | None = None

    @property
    def is_held(self) -> bool:
        return not self.missing and self.refused is None


class OrderRef(BaseModel):
    """Which order an event is about."""

    order_id: str


class Expiry(OrderRef):
    """When a reservation is over."""

    expires: datetime


class Ledger(BaseModel):
    """How many reservations have which status, and how many pieces are where."""

    held: int
    committed: int
    released: int
    available: int
    reserved: int
    sold: int
