"""What only eventmesh is asked for. Each function is a role, as in `benchmarks.peers`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import uvloop

from benchmarks.job import Job, Tally, in_parallel, report
from benchmarks.memory import resident
from benchmarks.order import ORDER, Order
from benchmarks.peers.chunks import CHUNK, PARTS
from benchmarks.peers.eventmesh import CONCURRENCY, host
from eventmesh import Client, Event, Service, on
from eventmesh.brokers.registry import open_broker
from eventmesh.host import Host, host_services
from eventmesh.model.settings import Settings

PERIOD = 20
TIMERS_OF_ONE = 100


def share(job: Job) -> None:
    """Consume beside other processes from the moment `job.wait` on; report every `CHUNK`."""
    app = Service(job.queue)
    handled = 0

    @app.function(concurrency=CONCURRENCY)
    async def handle(_: Order) -> None:
        nonlocal handled
        handled += 1
        if handled % CHUNK == 0:
            report(at=time.monotonic())

    time.sleep(max(0.0, job.wait - time.monotonic()))
    host(app, job.url)


def limited(job: Job) -> None:
    """Consume with `concurrency=job.in_flight`, and report the rate."""
    app, tally = Service(job.queue), Tally(job.count)

    @app.function(concurrency=job.in_flight)
    async def handle(_: Order) -> None:
        tally.one()

    host(app, job.url)


def work(job: Job) -> None:
    """Run `job.in_flight` at once that each wait for `job.wait` seconds; say how long they took."""
    app, times = Service(job.queue), list[float]()

    @app.function(name="handle", concurrency=job.in_flight)
    async def handle(_: Order) -> None:
        started = time.perf_counter()
        await asyncio.sleep(job.wait)
        times.append(time.perf_counter())
        durations.append(times[-1] - started)
        if len(times) == job.count:
            rate = (job.count - 1) / (times[-1] - times[0])
            report(duration=sum(durations) / job.count * 1000, rate=rate)

    durations = list[float]()
    host(app, job.url)


def subscribe(job: Job) -> None:
    """`job.in_flight` functions that each get a copy of every event."""
    app, tally = Service(job.queue), Tally(job.count * job.in_flight)

    async def handle(_: Order) -> None:
        tally.one()

    for number in range(job.in_flight):
        app.function(on.event(f"{job.queue}.placed"), name=f"handle_{number}")(handle)
    host(app, job.url)


def emit(job: Job) -> None:
    async def main() -> None:
        async with Client(job.url) as client:
            await in_parallel(lambda: client.emit(f"{job.queue}.placed", ORDER), job)

    uvloop.run(main())


def delay(job: Job) -> None:
    """By how much messages come later than `job.wait` seconds after they were sent."""
    app = Service(job.queue)
    lateness = _Lateness(job.count // job.in_flight * job.in_flight)

    @app.function(concurrency=CONCURRENCY)
    async def handle(due: float) -> None:
        lateness.add(time.time() - due)

    async def work(here: Host) -> None:
        async def send() -> None:
            payload = {"due": time.time() + job.wait}
            await here.caller.send(f"{job.queue}.handle", payload, delay=job.wait)

        await in_parallel(send, job)
        await lateness.complete.wait()
        report(**lateness.figures())

    uvloop.run(_hosted(app, job, work))


def functions(job: Job) -> None:
    """`job.count` functions, each sent `job.in_flight` orders."""
    app, handled, started = Service(job.queue), 0, time.perf_counter()
    wanted, all_handled = job.count * job.in_flight, asyncio.Event()

    async def handle(_: Order) -> None:
        nonlocal handled
        handled += 1
        if handled == wanted:
            all_handled.set()

    for number in range(job.count):
        app.function(name=f"handle_{number}")(handle)
    names = iter([f"{job.queue}.handle_{number}" for number in range(job.count)] * job.in_flight)

    async def work(here: Host) -> None:
        start = time.perf_counter() - started
        sending = time.perf_counter()
        all_orders = Job(job.url, job.queue, wanted, job.in_flight)
        await in_parallel(lambda: here.caller.send(next(names), ORDER), all_orders)
        await all_handled.wait()
        rate = wanted / (time.perf_counter() - sending)
        report(start=start, rate=rate, rss=resident())

    uvloop.run(_hosted(app, job, work))


def grow(job: Job) -> None:
    """Send itself `PARTS` times `job.count` orders and handle them; report memory after each."""
    app, handled, enough = Service(job.queue), 0, asyncio.Event()

    @app.function(concurrency=CONCURRENCY)
    async def handle(_: Order) -> None:
        nonlocal handled
        handled += 1
        if handled % job.count == 0:
            enough.set()

    async def work(here: Host) -> None:
        started = time.perf_counter()
        for part in range(1, PARTS + 1):
            await in_parallel(lambda: here.caller.send(f"{job.queue}.handle", ORDER), job)
            await enough.wait()
            enough.clear()
            seconds = time.perf_counter() - started
            report(rss=resident(), rate=part * job.count / seconds)

    uvloop.run(_hosted(app, job, work))


def timers(job: Job) -> None:
    """`job.count` timers, evenly over `PERIOD` seconds, until each has fired about once."""
    app, started, lateness = Service(job.queue), time.perf_counter(), _Lateness(job.count)

    async def handle(event: Event[Any]) -> None:
        lateness.add(time.time() - event.time.timestamp())

    first = datetime(2026, 1, 1, tzinfo=UTC)
    starts = [first + timedelta(seconds=PERIOD / TIMERS_OF_ONE * n) for n in range(TIMERS_OF_ONE)]
    for number in range(job.count // TIMERS_OF_ONE):
        schedules = [on.every(PERIOD, start=start) for start in starts]
        app.function(*schedules, name=f"handle_{number}")(handle)

    async def work(_: Host) -> None:
        start = time.perf_counter() - started
        await lateness.complete.wait()
        report(start=start, **lateness.figures(), rss=resident())

    uvloop.run(_hosted(app, job, work))


class _Lateness:
    """Gathers how late things came, in seconds, until there are `count` of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seconds: list[float] = []
        self.complete = asyncio.Event()

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        if len(self._seconds) == self._count:
            self.complete.set()

    def figures(self) -> dict[str, float]:
        """In milliseconds."""
        return {"p50": median(self._seconds) * 1000, "worst": max(self._seconds) * 1000}


async def _hosted(app: Service, job: Job, work: Callable[[Host], Awaitable[None]]) -> None:
    async with (
        open_broker(job.url, "bench") as broker,
        host_services([app], broker, Settings(), http=None) as here,
    ):
        await work(here)
