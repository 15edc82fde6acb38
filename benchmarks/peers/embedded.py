"""eventmesh on the embedded broker, in one process. Each function at the end is a role."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.job import Job, report
from benchmarks.order import BODY, Order
from eventmesh import Context, Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

WARM_UP = 2_000

app = Service("bench")
handled = 0
wanted = 0
all_handled = asyncio.Event()


@app.function
async def count(_: Order) -> None:
    global handled
    handled += 1
    if handled == wanted:
        all_handled.set()


@app.function
async def echo(order: Order) -> Order:
    return order


@app.function
async def call_echo(times: int, ctx: Context) -> None:
    for _ in range(times):
        await ctx.invoke("bench.echo", BODY)


@app.function(timeout=None)
async def call_echo_in_parallel(times: int, callers: int, ctx: Context) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(call_echo(times // callers, ctx))


async def _rate(work: Callable[[int], Awaitable[None]], times: int) -> float:
    await work(WARM_UP)
    started = time.perf_counter()
    await work(times)
    return times / (time.perf_counter() - started)


async def measure(name: str, times: int) -> float:
    """The rate of the role of that name, in invocations a second."""
    async with (
        MemoryBroker() as broker,
        host_services([app], broker, Settings(), http=None) as host,
    ):

        async def send_all(number: int) -> None:
            global handled, wanted
            handled, wanted = 0, number
            all_handled.clear()
            for _ in range(number):
                await host.caller.send("bench.count", BODY)
            await all_handled.wait()

        async def invoke_all(number: int) -> None:
            await host.caller.invoke("bench.call_echo", {"times": number}, timeout=60)

        async def invoke_in_parallel(number: int) -> None:
            payload = {"times": number, "callers": 64}
            await host.caller.invoke("bench.call_echo_in_parallel", payload, timeout=60)

        works = {"send": send_all, "invoke": invoke_all, "invoke64": invoke_in_parallel}
        return await _rate(works[name], times)


def send(job: Job) -> None:
    report(rate=uvloop.run(measure("send", job.count)))


def invoke(job: Job) -> None:
    report(rate=uvloop.run(measure("invoke", job.count)))


def invoke64(job: Job) -> None:
    report(rate=uvloop.run(measure("invoke64", job.count)))
