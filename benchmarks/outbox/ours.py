"""Messages of eventmesh: plain ones, and through the outbox of a store."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import uvloop
from sqlalchemy import text

from benchmarks.durable import STORE
from benchmarks.job import Job, report
from benchmarks.order import Order
from benchmarks.outbox import INSERT, MODE, ROWS, TABLE
from benchmarks.outbox.arrivals import Arrivals, measure_arrivals
from eventmesh import Client, Context, Service
from eventmesh.brokers.registry import open_broker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

CHUNK = 20_000
"""Rows that one statement makes."""

SECONDS = 60.0
CONCURRENCY = 500

KEPT = (
    """
    INSERT INTO eventmesh_inbox SELECT $1, md5(n::text), $2 FROM generate_series($3::int, $4) n
    """,
    """
    INSERT INTO eventmesh_results
    SELECT $1, md5(n::text), 'succeeded', 1, false, $2, $2, $2, '', '', false, ''
    FROM generate_series($3::int, $4) n
    """,
)
"""Marks and results as a service leaves them that has handled so many: they expire at $2."""

SENT = """
    INSERT INTO eventmesh_outbox
        (service, lane, order_key, destination, properties, body, size, stored, due, attempts)
    SELECT $1, n % 8, '', '', '{}', repeat('x', 300)::bytea, 300, $2, $2, 0
    FROM generate_series($3::int, $4) n
"""

NAPTIME = "ALTER SYSTEM SET autovacuum_naptime = '1s'"
NAPTIME_AS_BEFORE = "ALTER SYSTEM RESET autovacuum_naptime"

VACUUMS = """
    SELECT coalesce(sum(autovacuum_count), 0)::float8 FROM pg_stat_user_tables
    WHERE relname LIKE 'eventmesh_%'
"""


def build_service(job: Job, arrivals: Arrivals, *, plain: bool) -> Service:
    app = Service(job.queue)
    receiver = f"{job.queue}.handle"

    @app.function(concurrency=CONCURRENCY)
    async def handle(order: Order) -> None:
        arrivals.handle(order.id)

    @app.function(concurrency=CONCURRENCY)
    async def place(order: Order, ctx: Context) -> None:
        if plain:
            await ctx.send(receiver, order)
        else:
            async with ctx.transaction() as session:
                await session.execute(text(INSERT), {"id": order.id})
                await ctx.send(receiver, order)
        arrivals.commit(order.id)

    return app


async def main(job: Job) -> None:
    mode, url = os.environ[MODE], os.environ[STORE]
    plain = mode == "plain"
    arrivals = Arrivals()
    app = build_service(job, arrivals, plain=plain)
    async with (
        open_broker(job.url, "bench") as broker,
        host_services([app], broker, Settings(store="" if plain else url), http=None),
        Client(job.url) as client,
    ):
        database = await cast(Any, asyncpg).connect(url)
        await database.execute(TABLE)
        if mode in {"kept", "dead"}:
            await _fill(database, mode, job.queue, int(os.environ[ROWS]))
        vacuums = await database.fetchval(VACUUMS)

        async def place(order: Order) -> None:
            await client.invoke(f"{job.queue}.place", order, timeout=SECONDS)

        figures = await measure_arrivals(place, arrivals, job)
        vacuums = await database.fetchval(VACUUMS) - vacuums
        if mode == "dead":
            await database.execute(NAPTIME_AS_BEFORE)
        report(**figures, vacuums=vacuums)
        await asyncio.Event().wait()


async def _fill(database: Any, mode: str, service: str, count: int) -> None:
    """Make the rows of a service that has run for long, or those that it deleted just now."""
    kept = time.time() + 86_400
    statements = KEPT if mode == "kept" else (SENT,)
    for statement in statements:
        for first in range(0, count, CHUNK):
            last = min(first + CHUNK, count) - 1
            # Of another service: no relay looks for them.
            await database.execute(statement, f"{service}-before", kept, first, last)
            report()  # It goes on.
    if mode == "kept":
        await database.execute("VACUUM ANALYZE")
        return
    await database.execute(NAPTIME)
    await database.execute("SELECT pg_reload_conf()")
    await database.execute("DELETE FROM eventmesh_outbox WHERE service = $1", f"{service}-before")


uvloop.run(main(Job.load(sys.argv[1])))
