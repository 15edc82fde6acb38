"""Durable executions of DBOS: the same workflow, as its documentation has it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from statistics import median

import uvloop
from dbos import DBOS, DBOSConfig

from benchmarks.durable import ALONE, STEPS, STORE
from benchmarks.job import Job, report

PARAMETERS = Job.load(sys.argv[1])


@DBOS.step()
async def add(number: int, more: int) -> int:
    return number + more


@DBOS.workflow()
async def alone() -> None:
    times: list[float] = []
    for number in range(ALONE):
        begun = time.perf_counter()
        await add(number, 1)
        times.append(time.perf_counter() - begun)
    report(p50=median(times) * 1000)


@DBOS.workflow()
async def work(number: int) -> int:
    for more in range(STEPS):
        number = await add(number, more)
    return number


async def main(job: Job) -> None:
    url = os.environ[STORE].replace("postgresql://", "postgresql+psycopg://")
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    await (await DBOS.start_workflow_async(alone)).get_result()
    permits = asyncio.Semaphore(job.in_flight)

    async def run(number: int) -> None:
        async with permits:
            await (await DBOS.start_workflow_async(work, number)).get_result()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(job.count // STEPS):
            tasks.create_task(run(number))
    report(rate=job.count / (time.perf_counter() - started))
    await asyncio.Event().wait()


uvloop.run(main(PARAMETERS))
