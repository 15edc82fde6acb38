"""Payments: charges for orders at a provider that is slow, flaky and sometimes down."""

import os
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Final

from aiohttp import ClientSession, ClientTimeout

from eventmesh import Context, Problem, Retry, RetryLater, Service, on

from .charging import Charging, Declined, Pause
from .models import Failure, Ledger, OrderRef, Payment, PlacedOrder
from .settings import Settings
from .storage import Store, opened

payments = Service(
    "payments",
    calls=[],
    emits=["payment.succeeded", "payment.failed", "payment.refunded"],
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
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with opened(settings.database_url) as store:
        yield store


@payments.resource
async def charging(settings: Settings) -> AsyncIterator[Charging]:
    timeout = ClientTimeout(total=settings.provider_timeout_seconds)
    async with ClientSession(settings.provider_url, timeout=timeout) as session:
        yield Charging(session)


@payments.function(retry=PATIENT)
async def give_up(failure: Failure, store: Store, ctx: Context) -> None:
    """Fail a payment for which the provider did not answer in time.

    The provider may have charged anyway: that is refunded when the order is cancelled.
    """
    order = failure.request
    await store.begin(order.order_id, order.total)
    reason = "the payment provider cannot be reached"
    await _announce(await store.decide(order.order_id, "failed", reason), ctx)


@payments.function(
    on.event("order.placed"),
    timeout="20s",
    retry=CHARGING,
    reserved_concurrency=AT_PROVIDER // 2,
    on_failure=give_up,
)
async def charge(order: PlacedOrder, store: Store, charging: Charging, ctx: Context) -> None:
    """Charge for an order. A repeated delivery announces the outcome again."""
    payment = await store.begin(order.order_id, order.total)
    if payment.status == "pending":
        try:
            with _pausing(CHARGING, ctx):
                await charging.charge(order)
        except Declined as declined:
            payment = await store.decide(order.order_id, "failed", str(declined))
        else:
            payment = await store.decide(order.order_id, "succeeded")
    await _announce(payment, ctx)


@payments.function(
    on.event("order.cancelled"),
    timeout="20s",
    retry=REFUNDING,
    reserved_concurrency=AT_PROVIDER // 2,
)
async def refund(order: OrderRef, store: Store, charging: Charging, ctx: Context) -> None:
    """Refund a cancelled order, and prevent later charges for it."""
    await store.begin(order.order_id, 0)
    await store.decide(order.order_id, "failed", "the order was cancelled")
    with _pausing(REFUNDING, ctx):
        await charging.refund(order.order_id)
    await store.refund(order.order_id)


@payments.function(on.get("/payments/ledger"))
async def get_ledger(store: Store) -> Ledger:
    """Count the payments by status."""
    return await store.ledger()


@payments.function(on.get("/payments/{order_id}", problems=[404]))
async def get_payment(order_id: str, store: Store) -> Payment:
    payment = await store.payment(order_id)
    if payment is None:
        raise Problem(404, f"there is no payment of an order {order_id}")
    return payment


@contextmanager
def _pausing(retry: Retry, ctx: Context) -> Generator[None]:
    """Retry after the pause that the provider asks for, and no sooner than the policy."""
    try:
        yield
    except Pause as pause:
        raise RetryLater(max(pause.seconds, retry.delay(ctx.attempt)), str(pause)) from pause


async def _announce(payment: Payment, ctx: Context) -> None:
    """Announce the outcome of a payment. Subscribers ignore repetitions."""
    await ctx.emit(f"payment.{payment.status}", payment, subject=payment.order_id)
