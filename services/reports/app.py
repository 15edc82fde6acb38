"""Reports: the sums of each day, and all orders for download."""

import csv
import io
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from datetime import date, timedelta
from typing import Annotated, Final

from pydantic import Field

from eventmesh import Context, Event, Problem, Retry, Service, on

from .models import Day, Order
from .settings import Settings
from .storage import Store, opened

reports = Service("reports", calls=[], emits=[])

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For events that must not be lost: it outlasts a database that is unavailable for an hour."""

COLUMNS: Final = ("order_id", "customer", "total", "status", "placed")


@reports.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@reports.resource
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with opened(settings.database_url) as store:
        yield store


@reports.function(
    on.event("order.placed", "order.confirmed", "order.cancelled"), concurrency=20, retry=PATIENT
)
async def record(order: Order, store: Store) -> None:
    await store.record(order)


@reports.function(on.cron("5 0 * * *", catch_up="all"), retry=PATIENT)
async def close_day(event: Event, store: Store, ctx: Context) -> None:
    """Store the sums of yesterday as they are now; late events are included."""
    yesterday = event.time.date() - timedelta(days=1)
    for day in await store.days(yesterday, yesterday):
        await store.close(day)
        ctx.logger.info("%s: %d orders", day.day, day.placed)


@reports.function(on.get("/reports/days", problems=[422]))
async def list_days(store: Store, ctx: Context, first: date | None = None) -> list[Day]:
    """List the sums of each day since `first`, or of the last 30 days; a year at most."""
    today = ctx.now.date()
    first = first or today - timedelta(days=30)
    if first < today - timedelta(days=366):
        raise Problem(422, "first is more than a year ago: download the orders instead")
    return await store.days(first, today)


@reports.function(on.get("/reports/closed"))
async def list_closed(store: Store, limit: Annotated[int, Field(ge=1, le=366)] = 31) -> list[Day]:
    """List the stored sums of the latest days."""
    return await store.closed(limit)


@reports.function(on.get("/reports/orders.csv"), timeout="10m", concurrency=4)
async def download(store: Store) -> AsyncIterator[bytes]:
    """Stream all orders as CSV (RFC 4180)."""
    yield _csv_line(COLUMNS)
    async with aclosing(store.orders()) as orders:
        async for order in orders:
            fields = order.model_dump(mode="json")
            yield _csv_line([fields[column] for column in COLUMNS])


@reports.function(on.get("/reports/orders.ndjson"), timeout="10m", concurrency=4)
async def stream(store: Store) -> AsyncIterator[Order]:
    """Stream all orders, one JSON document on each line."""
    async with aclosing(store.orders()) as orders:
        async for order in orders:
            yield order


def _csv_line(fields: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(fields)
    return line.getvalue().encode()
