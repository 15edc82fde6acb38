"""Payments, as others see them. Money is in cents."""

from typing import Literal

from pydantic import BaseModel

Status = Literal["succeeded", "failed", "refunded"]


class OrderRef(BaseModel):
    """The order that an event is about."""

    order_id: str


class PlacedOrder(OrderRef):
    """An order to charge for."""

    total: int


class Payment(OrderRef):
    """A payment as it stands; `reason` says why it failed."""

    amount: int
    status: Status
    reason: str = ""


class Failure(BaseModel):
    """The failure of the last attempt to charge for an order, as the mesh sends it."""

    request: PlacedOrder
    reason: str


class Ledger(BaseModel):
    """The number of payments by status, and the sum of those that succeeded."""

    succeeded: int
    failed: int
    refunded: int
    amount: int
