"""Inventory: reserves ordered articles until the order is confirmed or cancelled."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from eventmesh import Context, Retry, Service, on

from .models import Expiry, Hold, Item, Ledger, OrderRef, Reservation, Sku, Stock
from .settings import Settings
from .storage import Store, opened

inventory = Service("inventory", calls=[], emits=["reservation.expired"])

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For events that must not be lost: it outlasts a database that is unavailable for an hour."""

_SWEEP_LIMIT: Final = 500


@inventory.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@inventory.resource
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with opened(settings.database_url) as store:
        yield store


@inventory.function(timeout="10s", concurrency=20, max_pending=100)
async def reserve(hold: Hold, store: Store, settings: Settings, ctx: Context) -> Reservation:
    """Reserve all lines of an order, or none. Repeating the call returns the same reservation.

    A second call for an order with other counts is refused.
    """
    expires = ctx.now + timedelta(seconds=settings.hold_seconds)
    reservation = await store.reserve(hold, expires)
    if reservation.is_held:
        expiry = Expiry(order_id=hold.order_id, expires=expires)
        await ctx.send(expire, expiry, delay=settings.hold_seconds)
    return reservation


@inventory.function(retry=PATIENT)
async def expire(expiry: Expiry, store: Store, ctx: Context) -> None:
    """Announce that a reservation has expired. It is held until orders has decided."""
    if await store.is_held(expiry.order_id):
        await _emit_expired(expiry.order_id, ctx)


@inventory.function(on.every("1m"))
async def sweep(store: Store, settings: Settings, ctx: Context) -> None:
    """Announce overdue reservations whose `expire` was never sent, because the process died."""
    for order_id in await store.expired(ctx.now - timedelta(minutes=1), _SWEEP_LIMIT):
        await _emit_expired(order_id, ctx)
        await store.extend(order_id, ctx.now + timedelta(seconds=settings.hold_seconds))


@inventory.function(on.event("order.confirmed"), retry=PATIENT)
async def commit(order: OrderRef, store: Store) -> None:
    await store.commit(order.order_id)


@inventory.function(on.event("order.cancelled", "order.abandoned"), retry=PATIENT)
async def release(order: OrderRef, store: Store) -> None:
    await store.release(order.order_id)


@inventory.function(on.get("/inventory/items"))
async def list_items(store: Store) -> list[Item]:
    return await store.items()


@inventory.function(on.put("/inventory/items/{sku}"))
async def put_item(sku: Sku, stock: Stock, store: Store) -> Stock:
    """Set an article's price and the number of available pieces; reservations stay."""
    await store.put(sku, stock)
    return stock


@inventory.function(on.get("/inventory/ledger"))
async def get_ledger(store: Store) -> Ledger:
    """Count the reservations by status, and the pieces by place."""
    return await store.ledger()


async def _emit_expired(order_id: str, ctx: Context) -> None:
    await ctx.emit("reservation.expired", OrderRef(order_id=order_id), subject=order_id)
