"""Inventory: reserves ordered articles until the order is confirmed or cancelled."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from eventmesh import Context, Retry, Service, on

from .models import Hold, Item, Ledger, OrderRef, Reservation, Sku, Status, Stock
from .settings import Settings
from .tables import Base, ItemRow, ReservationRow

inventory = Service("inventory", calls=[], emits=["reservation.expired"], tables=Base.metadata)

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For events that must not be lost: it outlasts a database that is unavailable for an hour."""


@inventory.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@inventory.function(timeout="10s", concurrency=20, max_pending=100, idempotency_key="order_id")
async def reserve(hold: Hold, settings: Settings, ctx: Context) -> Reservation:
    """Reserve all lines of an order, or none. Repeating the call returns the same reservation."""
    counts = Counter[str]()
    for line in hold.lines:
        counts[line.sku] += line.count
    expires = ctx.now + timedelta(seconds=settings.hold_seconds)
    async with ctx.transaction() as session:
        items = await _lock(session, counts)
        missing = [
            sku for sku in sorted(counts) if sku not in items or items[sku].available < counts[sku]
        ]
        if missing:
            return Reservation(missing=missing)
        for sku, count in counts.items():
            items[sku].available -= count
            items[sku].reserved += count
        held = {"counts": dict(counts), "status": "held", "expires": expires}
        session.add(ReservationRow(order_id=hold.order_id, **held))
        await ctx.send(expire, OrderRef(order_id=hold.order_id), delay=settings.hold_seconds)
    return Reservation(prices={sku: item.price for sku, item in items.items()})


@inventory.function(retry=PATIENT)
async def expire(order: OrderRef, ctx: Context) -> None:
    """Announce that a reservation has expired. It is held until orders has decided."""
    async with ctx.transaction() as session:
        reservation = await session.get(ReservationRow, order.order_id)
        if reservation is not None and reservation.status == "held":
            await ctx.emit("reservation.expired", order, subject=order.order_id)


@inventory.function(on.event("order.confirmed"), retry=PATIENT)
async def commit(order: OrderRef, ctx: Context) -> None:
    await _end(order.order_id, "committed", ctx)


@inventory.function(on.event("order.cancelled", "order.abandoned"), retry=PATIENT)
async def release(order: OrderRef, ctx: Context) -> None:
    await _end(order.order_id, "released", ctx)


@inventory.function(on.event("order.undeliverable"), retry=PATIENT)
async def take_back(order: OrderRef, ctx: Context) -> None:
    """Make what was sold available again, or what is to be sold by an event that comes late."""
    await _end(order.order_id, "released", ctx, of=("held", "committed"))


@inventory.function(on.get("/inventory/items"))
async def list_items(ctx: Context) -> list[Item]:
    async with ctx.transaction() as session:
        rows = await session.scalars(select(ItemRow).order_by(ItemRow.sku))
        return [Item.model_validate(row, from_attributes=True) for row in rows]


@inventory.function(on.put("/inventory/items/{sku}"))
async def put_item(sku: Sku, stock: Stock, ctx: Context) -> Stock:
    """Set an article's price and the number of available pieces; reservations stay."""
    async with ctx.transaction() as session:
        await session.merge(ItemRow(sku=sku, **stock.model_dump()))
    return stock


@inventory.function(on.get("/inventory/ledger"))
async def get_ledger(ctx: Context) -> Ledger:
    """Count the reservations by status, and the pieces by place."""
    places = ("available", "reserved", "sold")
    pieces = select(
        *(func.coalesce(func.sum(getattr(ItemRow, each)), 0).label(each) for each in places)
    )
    statuses = select(ReservationRow.status, func.count()).group_by(ReservationRow.status)
    async with ctx.transaction() as session:
        sums = (await session.execute(pieces)).mappings().one()
        counts: dict[str, int] = dict((await session.execute(statuses)).all())
    return Ledger.model_validate({"held": 0, "committed": 0, "released": 0, **counts, **sums})


async def _lock(session: AsyncSession, skus: Iterable[str]) -> dict[str, ItemRow]:
    """Return the articles that there are, which no other transaction changes meanwhile."""
    query = select(ItemRow).where(ItemRow.sku.in_(skus))
    # A fixed order of locks: no deadlock.
    rows = await session.scalars(query.order_by(ItemRow.sku).with_for_update())
    return {row.sku: row for row in rows}


async def _end(
    order_id: str, status: Status, ctx: Context, *, of: tuple[str, ...] = ("held",)
) -> None:
    """Sell the articles reserved for an order, or make them available again."""
    async with ctx.transaction() as session:
        reservation = await session.get(ReservationRow, order_id, with_for_update=True)
        if reservation is None or reservation.status not in of:
            return
        was, reservation.status = reservation.status, status
        for sku, item in (await _lock(session, reservation.counts)).items():
            count = reservation.counts[sku]
            if was == "held":
                item.reserved -= count
            else:
                item.sold -= count
            if status == "committed":
                item.sold += count
            else:
                item.available += count
