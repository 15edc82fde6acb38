"""Executions that sleep: what they cost, and how late those resume that are due at once.

`job.count` sleep for a month. One of them begins as all do; the others are copies of its rows, each
with its own message in the broker. `job.in_flight` more begin as all do, and are due in one second.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import orjson
import uvloop

from benchmarks.durable import STORE
from benchmarks.job import Job, in_parallel, report
from benchmarks.memory import resident
from eventmesh import Client, DurableContext, Service
from eventmesh.abc import Broker
from eventmesh.brokers.registry import open_broker
from eventmesh.durable.completion import DURABLE, WAKE
from eventmesh.host import host_services
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.settings import Settings
from eventmesh.model.topology import parse_destination

MONTH = 30 * 86_400.0

LEAD = 0.1
"""Seconds until an execution is due for each that begins, so that all sleep by then."""

IN_FLIGHT = 500
"""Messages that wait for their confirmation at once."""

CHUNK = 5_000
"""Copies that one statement makes."""

SECONDS = 600.0
"""How long is waited for anything."""

COPIES = {
    "eventmesh_executions": """
        SELECT md5(n::text), service, function, md5(n::text), status, started, ended, wake,
            replace(state, id, md5(n::text))
        FROM eventmesh_executions, generate_series($2::int, $3::int) n WHERE id = $1""",
    "eventmesh_operations": """
        SELECT md5(n::text), id, place, open, changed, state
        FROM eventmesh_operations, generate_series($2::int, $3::int) n WHERE execution = $1""",
    "eventmesh_events": """
        SELECT md5(n::text), id, state
        FROM eventmesh_events, generate_series($2::int, $3::int) n WHERE execution = $1""",
}

SLEEPING = (
    "SELECT count(*) FROM eventmesh_executions WHERE status = 'RUNNING' "
    "AND state::json->>'running' = 'false' AND state::json->>'requested' = 'false'"
)

LATENESS = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY late) AS median, max(late) AS most
FROM (
    SELECT max((state::json->'details'->>'StartTimestamp')::float8)
        - max((state::json->'details'->>'ScheduledEndTimestamp')::float8) AS late
    FROM eventmesh_events
    WHERE execution IN (SELECT id FROM eventmesh_executions WHERE status = 'SUCCEEDED')
    GROUP BY execution
) AS each
"""
"""From the end of the wait to the beginning of the last turn, of all that have ended."""


def build_service(job: Job) -> Service:
    app = Service(job.queue)

    async def left(until: float) -> float:
        return until - time.time()

    @app.function(durable=True, concurrency=64)
    async def rest(until: float, ctx: DurableContext) -> None:
        await ctx.wait(math.ceil(await ctx.step(left, until)))

    return app


async def main(job: Job) -> None:
    function = f"{job.queue}.rest"
    settings = Settings(store=os.environ[STORE])
    async with (
        open_broker(job.url, "bench") as broker,
        host_services([build_service(job)], broker, settings, http=None),
        Client(job.url) as client,
    ):
        database = await _connect(os.environ[STORE])
        await client.send(function, {"until": time.time() + MONTH})
        await _wait_for(database, SLEEPING, 1)
        memory, size = resident(), await _size(database)
        await _copy(database, broker, function, job.count)
        report(
            memory=resident() - memory,
            size=(await _size(database) - size) / job.count,
            rows=await _rows(database) / job.count,
        )
        until = time.time() + max(LEAD * job.in_flight, 20.0)
        due = Job(job.url, job.queue, job.in_flight)
        await in_parallel(lambda: client.send(function, {"until": until}), due)
        ended = "SELECT count(*) FROM eventmesh_executions WHERE status = 'SUCCEEDED'"
        await _wait_for(database, ended, job.in_flight)
        median, most = await database.fetchrow(LATENESS)
        report(p50=median, most=most)
        await asyncio.Event().wait()


async def _connect(url: str) -> Any:
    return await cast(Any, asyncpg).connect(url)


async def _copy(database: Any, broker: Broker, function: str, count: int) -> None:
    (id,) = await database.fetchrow("SELECT id FROM eventmesh_executions")
    for table, rows in COPIES.items():
        for first in range(1, count, CHUNK):
            last = min(first + CHUNK, count) - 1
            await database.execute(f"INSERT INTO {table} {rows}", id, first, last)
            report()  # It goes on.
    ids = iter(await database.fetch("SELECT id FROM eventmesh_executions WHERE id <> $1", id))
    route = parse_destination(function)

    sent = 0

    async def send_wake() -> None:
        nonlocal sent
        sent += 1
        if sent % 1_000 == 0:
            report()
        wake = Message(
            orjson.dumps({"execution": next(ids)["id"]}),
            new_id(),
            time.time() + MONTH,
            trigger=DURABLE,
            type=WAKE,
            caller=function,
        )
        await broker.publish(route, wake, delay=MONTH)

    await in_parallel(send_wake, Job("", "", count - 1, IN_FLIGHT))
    # What is left of the division by that.
    for _ in range((count - 1) % IN_FLIGHT):
        await send_wake()


async def _size(database: Any) -> float:
    sizes = [
        await database.fetchval("SELECT pg_total_relation_size($1::regclass)", table)
        for table in COPIES
    ]
    return float(sum(sizes))


async def _rows(database: Any) -> float:
    counts = [await database.fetchval(f"SELECT count(*) FROM {table}") for table in COPIES]
    return float(sum(counts))


async def _wait_for(database: Any, query: str, number: int) -> None:
    ends = time.monotonic() + SECONDS
    while await database.fetchval(query) < number:
        if time.monotonic() > ends:
            raise TimeoutError(query)
        report()
        await asyncio.sleep(1)


uvloop.run(main(Job.load(sys.argv[1])))
