"""Durable executions of eventmesh."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from statistics import median

import uvloop

from benchmarks.durable import ALONE, STEPS, STORE
from benchmarks.job import Job, in_parallel, report
from eventmesh import Client, DurableContext, Service
from eventmesh.brokers.registry import open_broker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings


def build_service(job: Job) -> Service:
    app = Service(job.queue)
    ended = itertools.count(1)
    started = 0.0
    total = job.count // STEPS

    async def add(number: int, more: int) -> int:
        return number + more

    @app.function(durable=True, timeout=120)
    async def alone(ctx: DurableContext) -> None:
        times: list[float] = []
        for number in range(ALONE):
            begun = time.perf_counter()
            await ctx.step(add, number, 1)
            times.append(time.perf_counter() - begun)
        report(p50=median(times) * 1000)

    @app.function(durable=True, timeout=120, concurrency=job.in_flight)
    async def work(number: int, ctx: DurableContext) -> int:
        nonlocal started
        started = started or time.perf_counter()
        for more in range(STEPS):
            number = await ctx.step(add, number, more)
        if next(ended) == total:
            report(rate=job.count / (time.perf_counter() - started))
        return number

    return app


async def main(job: Job) -> None:
    settings = Settings(store=os.environ[STORE])
    async with (
        open_broker(job.url, "bench") as broker,
        host_services([build_service(job)], broker, settings, http=None),
        Client(job.url) as client,
    ):
        await client.invoke(f"{job.queue}.alone", None, timeout=120)
        numbers = itertools.count()

        async def send() -> None:
            await client.send(f"{job.queue}.work", {"number": next(numbers)})

        executions = Job(job.url, job.queue, job.count // STEPS, 1)
        await in_parallel(send, executions)
        await asyncio.Event().wait()


uvloop.run(main(Job.load(sys.argv[1])))
