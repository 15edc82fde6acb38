"""Payments: charges for orders at a provider that is slow, flaky and sometimes away."""

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

payments = Service("payments")

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For what must happen some time: a database that is away for an hour loses no event."""

CHARGING: Final = Retry(attempts=30, initial="1s", maximum="1m", max_age="10m")
"""So many attempts that only the age ends it. It ends before inventory's reservation does."""

REFUNDING: Final = Retry(attempts=1500, initial="1s", maximum="1h", max_age="30d")
"""Only the age ends it, and late: until it succeeds, somebody's money may be kept."""

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
    """Let a payment fail that the provider has not answered for in time.

    It may have charged all the same: when the order is cancelled, that is given back.
    """
    order = failure.request
    await store.begin(order.order_id, order.total)
    reason = "the payment provider cannot be reached"
    await _tell(await store.decide(order.order_id, "failed", reason), ctx)


@payments.function(
    on.event("order.placed"),
    timeout="20s",
    retry=CHARGING,
    reserved_concurrency=AT_PROVIDER // 2,
    on_failure=give_up,
)
async def charge(order: PlacedOrder, store: Store, charging: Charging, ctx: Context) -> None:
    """Charge for an order; delivered again, tell again what became of it."""
    payment = await store.begin(order.order_id, order.total)
    if payment.status == "pending":
        try:
            with _pausing(CHARGING, ctx):
                await charging.charge(order)
        except Declined as declined:
            payment = await store.decide(order.order_id, "failed", str(declined))
        else:
            payment = await store.decide(order.order_id, "succeeded")
    await _tell(payment, ctx)


@payments.function(
    on.event("order.cancelled"),
    timeout="20s",
    retry=REFUNDING,
    reserved_concurrency=AT_PROVIDER // 2,
)
async def refund(order: OrderRef, store: Store, charging: Charging, ctx: Context) -> None:
    """Give back what was charged for a cancelled order, and see to it that nothing will be."""
    await store.begin(order.order_id, 0)
    await store.decide(order.order_id, "failed", "the order was cancelled")
    with _pausing(REFUNDING, ctx):
        await charging.refund(order.order_id)
    await store.refunded(order.order_id)


@payments.function(on.get("/payments/ledger"))
async def get_ledger(store: Store) -> Ledger:
    """How many payments have which status."""
    return await store.ledger()


@payments.function(on.get("/payments/{order_id}", problems=[404]))
async def get_payment(order_id: str, store: Store) -> Payment:
    payment = await store.payment(order_id)
    if payment is None:
        raise Problem(404, f"there is no payment of an order {order_id}")
    return payment


@contextmanager
def _pausing(retry: Retry, ctx: Context) -> Generator[None]:
    """Come back after the pause that the provider asks for, and no sooner than without it."""
    try:
        yield
    except Pause as pause:
        raise RetryLater(max(pause.seconds, retry.delay(ctx.attempt)), str(pause)) from pause


async def _tell(payment: Payment, ctx: Context) -> None:
    """Tell how a payment ended; whoever hears it twice does nothing the second time."""
    await ctx.emit(f"payment.{payment.status}", payment, subject=payment.order_id)
