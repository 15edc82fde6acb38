"""Orders that ended, and the mails about them. Money is in cents."""

from typing import Literal

from pydantic import BaseModel

Kind = Literal["confirmed", "cancelled"]


class EndedOrder(BaseModel):
    """An order that was confirmed or cancelled; `reason` says why it was cancelled."""

    order_id: str
    customer: str
    total: int
    status: Kind
    reason: str = ""


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

    confirmed: int
    cancelled: int
