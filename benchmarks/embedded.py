"""Invocations a second through the embedded broker, in one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.order import BODY, Order
from eventmesh import Context, Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import hosting
from eventmesh.settings import Settings

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
    """The rate of one of `MEASUREMENTS`, in invocations a second."""
    async with (
        MemoryBroker() as broker,
        hosting([app], broker, Settings(), http=False) as host,
    ):

        async def send(number: int) -> None:
            global handled, wanted
            handled, wanted = 0, number
            all_handled.clear()
            for _ in range(number):
                await host.caller.send("bench.count", BODY)
            await all_handled.wait()

        async def invoke(number: int) -> None:
            await host.caller.invoke("bench.call_echo", {"times": number}, timeout=60)

        async def invoke_in_parallel(number: int) -> None:
            payload = {"times": number, "callers": 64}
            await host.caller.invoke("bench.call_echo_in_parallel", payload, timeout=60)

        works = {"send": send, "invoke": invoke, "invoke64": invoke_in_parallel}
        return await _rate(works[name], times)


MEASUREMENTS = {
    "send": "send to handled",
    "invoke": "ctx.invoke, 1 in flight",
    "invoke64": "ctx.invoke, 64 in flight",
}


def run(name: str, times: int = 100_000) -> float:
    """Measure in a fresh event loop."""
    return uvloop.run(measure(name, times))
