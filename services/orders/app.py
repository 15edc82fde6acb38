"""Orders: placed over HTTP, confirmed or cancelled by the outcome of their payment.

The status of an order decides for the whole shop. Inventory and payments follow its events, so that
they cannot disagree about an order, in whatever order events arrive.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from eventmesh import Context, Header, InvocationError, Problem, Retry, Service, Throttled, on

from .models import (
    Expired,
    Hold,
    NewOrder,
    Order,
    OrderPage,
    Payment,
    Reservation,
    Status,
)
from .settings import Settings
from .storage import OutboxEvent, Store, opened

orders = Service(
    "orders",
    calls=["inventory.reserve"],
    emits=["order.placed", "order.confirmed", "order.cancelled", "order.abandoned"],
)

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For events that must not be lost: it outlasts a database that is unavailable for an hour."""

_KEYS: Final = uuid.UUID("5ac5e1a3-2f0b-4a52-9f51-0d2f3d5c1c8e")
_OUTBOX_AGE: Final = timedelta(seconds=5)
_OUTBOX_LIMIT: Final = 500
_EMIT_SECONDS: Final = 2.0
_PLACE_SECONDS: Final = 8.0


@orders.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@orders.resource
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with opened(settings.database_url) as store:
        yield store


# Requests that could not be handled in time are refused at once, with 429.
@orders.function(
    on.post("/orders", status=201, problems=[409, 422, 503]),
    timeout="10s",
    concurrency=20,
    max_pending=30,
)
async def place_order(
    order: NewOrder,
    store: Store,
    ctx: Context,
    key: Annotated[str, Header("idempotency-key"), Field(max_length=200)] = "",
) -> Order:
    """Place an order. Repeating it with the same Idempotency-Key returns the same order."""
    try:
        async with asyncio.timeout(_PLACE_SECONDS):
            return await _place(order, key, store, ctx)
    except TimeoutError as error:
        # Placed or not: a client that repeats it with its key has one order in the end.
        raise Problem(503, "the shop is overloaded", headers={"Retry-After": "2"}) from error


@orders.function(on.get("/orders/{order_id}", problems=[404]))
async def get_order(order_id: str, store: Store) -> Order:
    order = await store.order(order_id)
    if order is None:
        raise Problem(404, f"there is no order {order_id}")
    return order


@orders.function(on.get("/orders"))
async def list_orders(
    store: Store,
    status: Status | None = None,
    after: str = "",
    limit: Annotated[int, Field(ge=1, le=500)] = 100,
) -> OrderPage:
    """List a page of orders; `next` of one page is `after` for the next."""
    return await store.page(status, after, limit)


@orders.function(on.event("payment.succeeded"), retry=PATIENT)
async def confirm(payment: Payment, store: Store, ctx: Context) -> None:
    await _announce(await store.close(payment.order_id, "confirmed"), ctx)


@orders.function(on.event("payment.failed"), retry=PATIENT)
async def cancel(payment: Payment, store: Store, ctx: Context) -> None:
    await _announce(await store.close(payment.order_id, "cancelled", payment.reason), ctx)


@orders.function(on.event("reservation.expired"), retry=PATIENT)
async def expire(expired: Expired, store: Store, ctx: Context) -> None:
    """Cancel an order that was not paid in time, or announce again how it ended."""
    order_id = expired.order_id
    if await store.abandon(order_id, ctx.now):
        await ctx.emit("order.abandoned", {"order_id": order_id}, subject=order_id)
    else:
        await _announce(await store.close(order_id, "cancelled", "not paid in time"), ctx)


@orders.function(on.every("5s"))
async def post_outbox(store: Store, ctx: Context) -> None:
    """Emit the stored events that were not emitted: a process died, or the broker was down."""
    for event in await store.waiting(ctx.now - _OUTBOX_AGE, _OUTBOX_LIMIT):
        await _emit(event, store, ctx)


async def _place(order: NewOrder, key: str, store: Store, ctx: Context) -> Order:
    order_id = uuid.uuid5(_KEYS, f"{order.customer} {key}").hex if key else uuid.uuid4().hex
    known = await store.order(order_id) if key else None
    if known is not None:
        return _repeated(known, order)
    # If the process dies after this, the reservation expires by itself.
    reservation = await _reserve(Hold(order_id=order_id, lines=order.lines), ctx)
    if reservation.refused == "released":
        return _repeated(await store.order(order_id), order)
    placed = _priced(order, order_id, reservation.prices, ctx)
    event = OutboxEvent(f"{order_id}.placed", "order.placed", placed.model_dump(mode="json"))
    if not await store.place(placed, event):
        return _repeated(await store.order(order_id), order)
    await _emit(event, store, ctx)
    return placed


async def _reserve(hold: Hold, ctx: Context) -> Reservation:
    try:
        reservation = await ctx.invoke("inventory.reserve", hold, returns=Reservation, timeout=5)
    except InvocationError as error:
        ctx.logger.warning("nothing could be reserved: %s", error)
        # If it was reserved anyway, it expires, or a repeated request finds it.
        busy = f"{error.retry_after:.0f}" if isinstance(error, Throttled) else "1"
        raise Problem(503, "inventory does not answer", headers={"Retry-After": busy}) from error
    if reservation.missing:
        raise Problem(409, "out of stock", title="Out of stock", missing=reservation.missing)
    if reservation.refused == "conflict":
        raise _other_basket()
    return reservation


def _priced(order: NewOrder, order_id: str, prices: dict[str, int], ctx: Context) -> Order:
    total = sum(line.count * prices[line.sku] for line in order.lines)
    return Order(**order.model_dump(), order_id=order_id, total=total, placed=ctx.now)


def _repeated(known: Order | None, order: NewOrder) -> Order:
    if known is None:
        raise Problem(409, "its reservation has expired: order with another Idempotency-Key")
    if known.lines != order.lines:
        raise _other_basket()
    return known


def _other_basket() -> Problem:
    return Problem(422, "the Idempotency-Key was used for another order: take a new one")


async def _emit(event: OutboxEvent, store: Store, ctx: Context) -> None:
    """Emit a stored event. If the broker is down, `post_outbox` emits it later."""
    try:
        async with asyncio.timeout(_EMIT_SECONDS):
            await ctx.emit(
                event.type, event.data, id=event.event_id, subject=event.data["order_id"]
            )
    except (InvocationError, TimeoutError) as error:
        ctx.logger.warning("%s stays in the outbox: %r", event.event_id, error)
    else:
        await store.emitted(event.event_id)


async def _announce(order: Order | None, ctx: Context) -> None:
    """Announce how an order ended. Subscribers ignore repetitions."""
    if order is not None:
        await ctx.emit(f"order.{order.status}", order, subject=order.order_id)
