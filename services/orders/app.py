"""Orders: placed over HTTP, confirmed or cancelled by the outcome of their payment, and shipped.

The status of an order decides for the whole shop. Inventory and payments follow its events, so that
they cannot disagree about an order, in whatever order events arrive. Each change of an order and
the event that tells of it are one transaction.
"""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any, Final

from aiohttp import ClientSession, ClientTimeout
from pydantic import Field
from sqlalchemy import select

from eventmesh import (
    Context,
    DurableContext,
    ExpectedEvent,
    FunctionError,
    InvocationError,
    Problem,
    Retry,
    Service,
    Throttled,
    on,
)

from .models import (
    Expired,
    Hold,
    NewOrder,
    Order,
    OrderPage,
    Payment,
    Reminder,
    Reservation,
    Status,
    Undeliverable,
)
from .settings import Settings
from .shipping import Shipping
from .tables import ABANDONED, Base, OrderRow, abandoned_row, from_row, to_row

orders = Service(
    "orders",
    calls=["inventory.reserve"],
    emits=[
        "order.placed",
        "order.confirmed",
        "order.cancelled",
        "order.abandoned",
        "order.undeliverable",
        "order.reminder",
    ],
    tables=Base.metadata,
)

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For what must not be lost: it outlasts an hour without the database, or without the carrier."""

UNDOING: Final = Retry(attempts=1000, initial="1s", maximum="1h")
"""For a month and more: until it succeeds, the carrier expects a parcel that never comes."""


@orders.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@orders.resource
async def shipping(settings: Settings) -> AsyncIterator[Shipping]:
    timeout = ClientTimeout(total=settings.carrier_timeout_seconds)
    async with ClientSession(settings.carrier_url, timeout=timeout) as session:
        yield Shipping(session)


# Requests that could not be handled in time are refused at once, with 429.
@orders.function(
    on.post("/orders", status=201, problems=[409, 503], idempotent=True),
    timeout="10s",
    concurrency=20,
    max_pending=30,
)
async def place_order(order: NewOrder, ctx: Context) -> Order:
    """Place an order. Repeating it with the same Idempotency-Key returns the same order."""
    # If the process dies after this, the reservation expires by itself.
    order_id = uuid.uuid4().hex
    reservation = await _reserve(Hold(order_id=order_id, lines=order.lines), ctx)
    total = sum(line.count * reservation.prices[line.sku] for line in order.lines)
    placed = Order(**order.model_dump(), order_id=order_id, total=total, placed=ctx.now)
    async with ctx.transaction() as session:
        session.add(to_row(placed))
        await ctx.emit("order.placed", placed, subject=order_id)
    return placed


@orders.function(on.get("/orders/{order_id}", problems=[404]))
async def get_order(order_id: str, ctx: Context) -> Order:
    async with ctx.transaction() as session:
        row = await session.get(OrderRow, order_id)
    if row is None or row.status == ABANDONED:
        raise Problem(404, f"there is no order {order_id}")
    return from_row(row)


@orders.function(on.get("/orders"))
async def list_orders(
    ctx: Context,
    status: Status | None = None,
    after: str = "",
    limit: Annotated[int, Field(ge=1, le=500)] = 100,
) -> OrderPage:
    """List a page of orders; `next` of one page is `after` for the next."""
    query = select(OrderRow).where(OrderRow.order_id > after)
    query = query.where(OrderRow.status == status if status else OrderRow.status != ABANDONED)
    async with ctx.transaction() as session:
        rows = await session.scalars(query.order_by(OrderRow.order_id).limit(limit + 1))
        found = [from_row(row) for row in rows]
    return OrderPage(
        orders=found[:limit], next=found[limit - 1].order_id if found[limit:] else None
    )


@orders.function(on.event("payment.succeeded"), retry=PATIENT)
async def confirm(payment: Payment, ctx: Context) -> None:
    await _end(payment.order_id, "confirmed", "", ctx)


@orders.function(on.event("payment.failed"), retry=PATIENT)
async def cancel(payment: Payment, ctx: Context) -> None:
    await _end(payment.order_id, "cancelled", payment.reason, ctx)


@orders.function(on.event("reservation.expired"), retry=PATIENT)
async def expire(expired: Expired, ctx: Context) -> None:
    """Cancel an order that was not paid in time; forbid one that was never placed."""
    await _end(expired.order_id, "cancelled", "not paid in time", ctx)


@orders.function(
    on.event("order.placed"),
    on.event("order.*", starts=False),
    durable=True,
    execution_timeout="90d",
    retry=PATIENT,
)
async def ship(order: Order, shipping: Shipping, ctx: DurableContext) -> str:
    """Ship an order when it is paid, and remind of it a day later; the tracking number.

    This is run again from its beginning whenever it goes on, and goes past what is recorded.
    """
    order = await _wait_for_end(order, ctx)
    if order.status != "confirmed":
        return ""
    try:
        tracking = await _hand_over(order, shipping, ctx)
    except FunctionError as error:
        await ctx.send(give_back, Undeliverable(order_id=order.order_id, reason=error.message))
        return ""
    await ctx.wait("1d")
    reminder = Reminder(order_id=order.order_id, customer=order.customer, tracking=tracking)
    await ctx.emit("order.reminder", reminder, subject=order.order_id)
    return tracking


@orders.function(retry=PATIENT)
async def give_back(undeliverable: Undeliverable, ctx: Context) -> None:
    """Take back a confirmed order that cannot be shipped: its event has it refunded."""
    async with ctx.transaction() as session:
        row = await session.get(OrderRow, undeliverable.order_id, with_for_update=True)
        if row is not None and row.status == "confirmed":
            row.status, row.reason = "undeliverable", undeliverable.reason[:500]
            await ctx.emit("order.undeliverable", from_row(row), subject=row.order_id)


async def _wait_for_end(order: Order, ctx: DurableContext) -> Order:
    """Wait until an order is confirmed or cancelled; return it as it is then."""
    key = {"order_id": order.order_id}
    while order.status == "placed":
        change: ExpectedEvent[Order] = await ctx.expect_event("order.*", match=key, returns=Order)
        # What happened before that is not told again.
        order = await ctx.invoke(get_order, key)
        if order.status == "placed":
            order = await change.result()
    return order


async def _hand_over(order: Order, shipping: Shipping, ctx: DurableContext) -> str:
    """Take the steps of shipping. If one fails for good, undo all, the last one first."""
    undo: list[Callable[[str], Coroutine[Any, Any, None]]] = []
    try:
        # First how it is undone: a step that fails may have had its effect all the same.
        undo.append(shipping.cancel_booking)
        await ctx.step(shipping.book, order, retry=PATIENT)
        undo.append(shipping.void_label)
        tracking = await ctx.step(shipping.buy_label, order, retry=PATIENT)
        undo.append(shipping.call_back)
        await ctx.step(shipping.hand_over, order, retry=PATIENT)
    except FunctionError:
        for step in reversed(undo):
            await ctx.step(step, order.order_id, retry=UNDOING)
        raise
    return tracking


async def _reserve(hold: Hold, ctx: Context) -> Reservation:
    try:
        reservation = await ctx.invoke("inventory.reserve", hold, returns=Reservation, timeout=5)
    except InvocationError as error:
        ctx.logger.warning("nothing could be reserved: %s", error)
        # If it was reserved anyway, it expires.
        busy = f"{error.retry_after:.0f}" if isinstance(error, Throttled) else "1"
        raise Problem(503, "inventory does not answer", headers={"Retry-After": busy}) from error
    if reservation.missing:
        raise Problem(409, "out of stock", title="Out of stock", missing=reservation.missing)
    return reservation


async def _end(order_id: str, status: Status, reason: str, ctx: Context) -> None:
    """Give a placed order its final status, and announce it. The first one stays."""
    async with ctx.transaction() as session:
        row = await session.get(OrderRow, order_id, with_for_update=True)
        if row is None:
            session.add(abandoned_row(order_id, ctx.now))
            await ctx.emit("order.abandoned", {"order_id": order_id}, subject=order_id)
        elif row.status == "placed":
            row.status, row.reason = status, reason[:500]
            await ctx.emit(f"order.{status}", from_row(row), subject=order_id)
