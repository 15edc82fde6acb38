"""Articles, and their reservations for orders. Money is in cents."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Status = Literal["committed", "released"]
Sku = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,40}$")]


class Stock(BaseModel):
    """The price of an article, and the number of available pieces."""

    price: int = Field(ge=0)
    available: int = Field(ge=0)


class Item(Stock):
    """An article; `reserved` pieces are held for orders, `sold` ones belong to them."""

    sku: Sku
    reserved: int
    sold: int


class Line(BaseModel):
    """A number of pieces of one article."""

    sku: Sku
    count: int = Field(ge=1)


class Hold(BaseModel):
    """The lines to reserve for an order."""

    order_id: str
    lines: list[Line]


class Reservation(BaseModel):
    """The prices of the reserved articles, or the missing ones."""

    prices: dict[str, int] = {}
    missing: list[str] = []


class OrderRef(BaseModel):
    """The order that an event is about."""

    order_id: str


class Ledger(BaseModel):
    """The number of reservations by status, and of pieces by place."""

    held: int
    committed: int
    released: int
    available: int
    reserved: int
    sold: int
