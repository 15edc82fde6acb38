"""Orders in reports, and their sums. Money is in cents."""

import datetime as dt
from typing import Literal

from pydantic import BaseModel

Status = Literal["placed", "confirmed", "cancelled", "undeliverable"]


class Order(BaseModel):
    """An order, as in its latest event."""

    order_id: str
    customer: str
    total: int
    status: Status
    placed: dt.datetime


class Day(BaseModel):
    """The orders that were placed on one day (UTC); `revenue` is of those confirmed.

    Those that were confirmed and could not be delivered count as `cancelled`.
    """

    day: dt.date
    placed: int
    confirmed: int
    cancelled: int
    revenue: int
