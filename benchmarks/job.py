"""What the process of a peer is asked to do, and how it tells what it measured."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

MARK: Final = "bench:"
"""Begins the lines of a peer's output that are reports; frameworks print others."""


@dataclass(frozen=True)
class Job:
    """One piece of work for one process.

    `count` messages through `queue` of the broker at `url`, at most `in_flight` at once. Bodies
    have `size` bytes (0: the order of all benchmarks), handlers wait for `wait` seconds.
    """

    url: str
    queue: str
    count: int = 1
    in_flight: int = 1
    size: int = 0
    wait: float = 0.0

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Job:
        return cls(**json.loads(text))


def report(**figures: float) -> None:
    """Tell the harness: `report()` alone says that the process is ready."""
    print(MARK, json.dumps(figures), flush=True)


class Tally:
    """Counts what was handled, and reports the rate from the first to the last."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._started = 0.0
        # Its `next` is atomic: some peers handle messages in threads.
        self._numbers = itertools.count(1)

    def one(self) -> None:
        number = next(self._numbers)
        if number == 1:
            self._started = time.perf_counter()
        if number == self._count:
            report(rate=(number - 1) / (time.perf_counter() - self._started))


async def in_parallel(work: Callable[[], Awaitable[object]], job: Job) -> float:
    """How often a second `work` is done, `job.in_flight` at once, `job.count` in all."""

    async def some() -> None:
        for _ in range(job.count // job.in_flight):
            await work()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(job.in_flight):
            tasks.create_task(some())
    return job.count // job.in_flight * job.in_flight / (time.perf_counter() - started)


async def request_one_by_one(request: Callable[[], Awaitable[object]], count: int) -> float:
    """The median time of a request, in milliseconds, with nothing else in flight."""
    times: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        await request()
        times.append(time.perf_counter() - started)
    return median(times) * 1000


async def request_all(request: Callable[[], Awaitable[object]], job: Job) -> None:
    """Report both figures of request and reply, after a warm-up."""
    alone = max(1, job.count // 10)
    await request_one_by_one(request, alone // 5)
    p50 = await request_one_by_one(request, alone)
    report(p50=p50, rate=await in_parallel(request, job))


async def publish_all(publish: Callable[[], Awaitable[object]], job: Job) -> None:
    """Report how many messages a second were published and confirmed."""
    report(rate=await in_parallel(publish, job))


def publish_one_by_one(publish: Callable[[], object], job: Job) -> None:
    """The same, for a library that waits for each confirmation."""
    started = time.perf_counter()
    for _ in range(job.count):
        publish()
    report(rate=job.count / (time.perf_counter() - started))
