"""Payments, as others see them. Money is in cents."""

from typing import Literal

from pydantic import BaseModel

Status = Literal["pending", "succeeded", "failed", "refunded"]


class OrderRef(BaseModel):
    """Which order an event is about."""

    order_id: str


class PlacedOrder(OrderRef):
    """An order that is to be paid."""

    total: int


class Payment(OrderRef):
    """A payment as it stands; `reason` says why it failed."""

    amount: int
    status: Status
    reason: str = ""


class Failure(BaseModel):
    """That an order could not be charged for, and why; from the mesh, after the last attempt."""

    request: PlacedOrder
    reason: str


class Ledger(BaseModel):
    """How many payments have which status, and what those that succeeded amount to."""

    pending: int
    succeeded: int
    failed: int
    refunded: int
    amount: int
