"""The payload of all benchmarks: an order of about 200 bytes of JSON, or of another size."""

from __future__ import annotations

from pydantic import BaseModel


class Item(BaseModel):
    sku: str
    quantity: int
    price: float


class Order(BaseModel):
    id: str
    customer: str
    email: str
    items: list[Item]
    note: str


ORDER = Order(
    id="ord-20261122-000042",
    customer="Ada Lovelace",
    email="ada@example.org",
    items=[Item(sku="book-0451", quantity=2, price=12.5), Item(sku="pen", quantity=10, price=1.2)],
    note="leave it at the door",
)
BODY = ORDER.model_dump_json().encode()


def order_of(size: int) -> Order:
    """An order whose JSON has `size` bytes, from 100 on; `ORDER` if that is 0."""
    if not size:
        return ORDER
    order = Order(id="1", customer="", email="", items=[], note="")
    return order.model_copy(update={"note": "x" * (size - len(order.model_dump_json()))})
