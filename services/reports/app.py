"""Reports: the sums of each day, and all orders for download."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, date, timedelta
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from eventmesh import Context, Event, Problem, Retry, Service, on

from .models import Day, Order
from .tables import Base, DayRow, OrderRow

reports = Service("reports", calls=[], emits=[], tables=Base.metadata)

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For events that must not be lost: it outlasts a database that is unavailable for an hour."""

COLUMNS: Final = ("order_id", "customer", "total", "status", "placed")
_PAGE: Final = 500


@reports.function(
    on.event("order.placed", "order.confirmed", "order.cancelled", "order.undeliverable"),
    concurrency=20,
    retry=PATIENT,
)
async def record(order: Order, ctx: Context) -> None:
    """Store an order from an event; one that comes late does not change what came after it."""
    async with ctx.transaction() as session:
        row = await session.get(OrderRow, order.order_id, with_for_update=True)
        if row is None:
            placed = order.placed.astimezone(UTC)
            session.add(OrderRow(**order.model_dump() | {"placed": placed, "day": placed.date()}))
        elif order.status != "placed" and row.status != "undeliverable":
            row.status = order.status


@reports.function(on.cron("5 0 * * *", catch_up="all"), retry=PATIENT)
async def close_day(event: Event, ctx: Context) -> None:
    """Store the sums of yesterday as they are now; late events are included."""
    yesterday = event.time.date() - timedelta(days=1)
    async with ctx.transaction() as session:
        for day in await _sums(session, yesterday, yesterday):
            await session.merge(DayRow(**day.model_dump()))
            ctx.logger.info("%s: %d orders", day.day, day.placed)


@reports.function(on.get("/reports/days", problems=[422]))
async def list_days(ctx: Context, first: date | None = None) -> list[Day]:
    """List the sums of each day since `first`, or of the last 30 days; a year at most."""
    today = ctx.now.date()
    first = first or today - timedelta(days=30)
    if first < today - timedelta(days=366):
        raise Problem(422, "first is more than a year ago: download the orders instead")
    async with ctx.transaction() as session:
        return await _sums(session, first, today)


@reports.function(on.get("/reports/closed"))
async def list_closed(ctx: Context, limit: Annotated[int, Field(ge=1, le=366)] = 31) -> list[Day]:
    """List the stored sums of the latest days."""
    async with ctx.transaction() as session:
        rows = await session.scalars(select(DayRow).order_by(DayRow.day.desc()).limit(limit))
        return [Day.model_validate(row, from_attributes=True) for row in rows]


@reports.function(on.get("/reports/orders.csv"), timeout="10m", concurrency=4)
async def download(ctx: Context) -> AsyncIterator[bytes]:
    """Stream all orders as CSV (RFC 4180)."""
    yield _csv_line(COLUMNS)
    async for order in _pages(ctx):
        fields = order.model_dump(mode="json")
        yield _csv_line([fields[column] for column in COLUMNS])


@reports.function(on.get("/reports/orders.ndjson"), timeout="10m", concurrency=4)
async def stream(ctx: Context) -> AsyncIterator[Order]:
    """Stream all orders, one JSON document on each line."""
    async for order in _pages(ctx):
        yield order


@reports.function
async def list_orders(after: str, ctx: Context) -> list[Order]:
    """List a page of orders by their ids, those after `after`."""
    query = select(OrderRow).where(OrderRow.order_id > after)
    async with ctx.transaction() as session:
        rows = await session.scalars(query.order_by(OrderRow.order_id).limit(_PAGE))
        return [_from_row(row) for row in rows]


async def _pages(ctx: Context) -> AsyncIterator[Order]:
    """Yield all orders. However slowly they are read, no transaction is open meanwhile."""
    after = ""
    while page := await ctx.invoke(list_orders, {"after": after}):
        for order in page:
            yield order
        after = page[-1].order_id


async def _sums(session: AsyncSession, first: date, last: date) -> list[Day]:
    """Sum up each day with orders, as it is now."""
    confirmed = OrderRow.status == "confirmed"
    cancelled = OrderRow.status.in_(("cancelled", "undeliverable"))
    query = (
        select(
            OrderRow.day,
            func.count().label("placed"),
            func.sum(case((confirmed, 1), else_=0)).label("confirmed"),
            func.sum(case((cancelled, 1), else_=0)).label("cancelled"),
            func.sum(case((confirmed, OrderRow.total), else_=0)).label("revenue"),
        )
        .where(OrderRow.day.between(first, last))
        .group_by(OrderRow.day)
        .order_by(OrderRow.day)
    )
    return [Day.model_validate(row) for row in (await session.execute(query)).mappings()]


def _from_row(row: OrderRow) -> Order:
    columns = {name: getattr(row, name) for name in Order.model_fields}
    # SQLite keeps no offsets; all times are in UTC.
    return Order.model_validate(columns | {"placed": row.placed.replace(tzinfo=UTC)})


def _csv_line(fields: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(fields)
    return line.getvalue().encode()
