"""Payments: charges for orders at a provider that is slow, flaky and sometimes down."""

import os
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Final

from aiohttp import ClientSession, ClientTimeout
from sqlalchemy import func, select

from eventmesh import Context, Problem, Retry, RetryLater, Service, on

from .charging import Charging, Declined, Pause
from .models import Failure, Ledger, OrderRef, Payment, PlacedOrder, Status
from .settings import Settings
from .tables import Base, PaymentRow

payments = Service(
    "payments",
    calls=[],
    emits=["payment.succeeded", "payment.failed", "payment.refunded"],
    tables=Base.metadata,
)

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For events that must not be lost: it outlasts a database that is unavailable for an hour."""

CHARGING: Final = Retry(attempts=30, initial="1s", maximum="1m", max_age="10m")
"""With so many attempts only the age ends it, before inventory's reservation expires."""

REFUNDING: Final = Retry(attempts=1500, initial="1s", maximum="1h", max_age="30d")
"""Only the age ends it, and late: until it succeeds, a customer's money may be kept."""

AT_PROVIDER: Final = 8
"""Requests that the provider takes from us at once, from all replicas together: half of them are
charges, half refunds."""


@payments.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@payments.resource
async def charging(settings: Settings) -> AsyncIterator[Charging]:
    timeout = ClientTimeout(total=settings.provider_timeout_seconds)
    async with ClientSession(settings.provider_url, timeout=timeout) as session:
        yield Charging(session)


@payments.function(retry=PATIENT)
async def give_up(failure: Failure, ctx: Context) -> None:
    """Fail a payment for which the provider did not answer in time.

    The provider may have charged anyway: that is refunded when the order is cancelled.
    """
    await _decide(failure.request, "failed", "the payment provider cannot be reached", ctx)


@payments.function(
    on.event("order.placed"),
    timeout="20s",
    retry=CHARGING,
    reserved_concurrency=AT_PROVIDER // 2,
    on_failure=give_up,
)
async def charge(order: PlacedOrder, charging: Charging, ctx: Context) -> None:
    """Charge for an order. The provider charges a key once, however often it is asked."""
    try:
        with _pausing(CHARGING, ctx):
            await charging.charge(order)
    except Declined as declined:
        await _decide(order, "failed", str(declined), ctx)
    else:
        await _decide(order, "succeeded", "", ctx)


@payments.function(
    on.event("order.cancelled", "order.undeliverable"),
    timeout="20s",
    retry=REFUNDING,
    reserved_concurrency=AT_PROVIDER // 2,
)
async def refund(order: OrderRef, charging: Charging, ctx: Context) -> None:
    """Refund an order that is not delivered, and prevent later charges for it."""
    with _pausing(REFUNDING, ctx):
        await charging.refund(order.order_id)
    async with ctx.transaction() as session:
        row = await session.get(PaymentRow, order.order_id, with_for_update=True)
        if row is None:
            session.add(_row(order.order_id, 0, "failed", "the order was cancelled"))
        elif row.status == "succeeded":
            row.status = "refunded"
            await _announce(row, ctx)


@payments.function(on.get("/payments/ledger"))
async def get_ledger(ctx: Context) -> Ledger:
    """Count the payments by status."""
    query = select(PaymentRow.status, func.count(), func.sum(PaymentRow.amount))
    async with ctx.transaction() as session:
        rows = (await session.execute(query.group_by(PaymentRow.status))).all()
    counts = {status: count for status, count, _ in rows}
    amounts = {status: amount for status, _, amount in rows}
    nothing = {"succeeded": 0, "failed": 0, "refunded": 0}
    return Ledger.model_validate({**nothing, **counts, "amount": amounts.get("succeeded", 0)})


@payments.function(on.get("/payments/{order_id}", problems=[404]))
async def get_payment(order_id: str, ctx: Context) -> Payment:
    async with ctx.transaction() as session:
        row = await session.get(PaymentRow, order_id)
    if row is None:
        raise Problem(404, f"there is no payment of an order {order_id} yet")
    return Payment.model_validate(row, from_attributes=True)


@contextmanager
def _pausing(retry: Retry, ctx: Context) -> Generator[None]:
    """Retry after the pause that the provider asks for, and no sooner than the policy."""
    try:
        yield
    except Pause as pause:
        raise RetryLater(max(pause.seconds, retry.delay(ctx.attempt)), str(pause)) from pause


async def _decide(order: PlacedOrder, status: Status, reason: str, ctx: Context) -> None:
    """Record the outcome of a payment, and announce it. The first one stays."""
    async with ctx.transaction() as session:
        if await session.get(PaymentRow, order.order_id) is None:
            row = _row(order.order_id, order.total, status, reason)
            session.add(row)
            await _announce(row, ctx)


def _row(order_id: str, amount: int, status: Status, reason: str) -> PaymentRow:
    return PaymentRow(order_id=order_id, amount=amount, status=status, reason=reason[:500])


async def _announce(row: PaymentRow, ctx: Context) -> None:
    payment = Payment.model_validate(row, from_attributes=True)
    await ctx.emit(f"payment.{payment.status}", payment, subject=payment.order_id)
