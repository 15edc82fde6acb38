"""Measures from sending to handling, where both are in one process."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from typing import Final

from benchmarks.job import Job, in_parallel
from benchmarks.order import ORDER, Order
from benchmarks.processes import Figures

ALONE: Final = 0.1
"""The share of all messages that are sent one after the other."""

SECONDS: Final = 60.0
"""How long is waited for what was sent, from the last one."""


class Arrivals:
    """What was sent and is not handled yet. A second delivery of one message does not count."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._expected: dict[str, asyncio.Future[float]] = {}
        self.committed: dict[str, float] = {}
        """When each order was committed, or was sent where there is nothing to commit."""

    def next(self) -> tuple[Order, asyncio.Future[float]]:
        """Return another order, and when it will have been handled (by `time.perf_counter`)."""
        order = ORDER.model_copy(update={"id": f"order-{next(self._numbers)}"})
        handled = asyncio.get_running_loop().create_future()
        self._expected[order.id] = handled
        return order, handled

    def commit(self, id: str) -> None:
        """Take note that an order was committed."""
        self.committed[id] = time.perf_counter()

    def handle(self, id: str) -> None:
        """Take note that an order was handled."""
        handled = self._expected.pop(id, None)
        if handled is not None:
            handled.set_result(time.perf_counter())


async def measure_arrivals(
    place: Callable[[Order], Awaitable[object]], arrivals: Arrivals, job: Job
) -> Figures:
    """Place one after the other, then many at once; return how long each took, and the rate.

    `place` asks for an order to be placed, which ends with `arrivals.commit`. Times are in ms.

    Raises TimeoutError if one is not handled.
    """
    alone = max(2, round(job.count * ALONE))

    async def send_one() -> float:
        order, handled = arrivals.next()
        began = time.perf_counter()
        await place(order)
        return await asyncio.wait_for(handled, SECONDS) - began

    for _ in range(alone // 5):
        await send_one()
    times = [await send_one() for _ in range(alone)]

    began = time.perf_counter()
    sent: list[tuple[str, asyncio.Future[float]]] = []

    async def send_another() -> None:
        order, handled = arrivals.next()
        await place(order)
        sent.append((order.id, handled))

    await in_parallel(send_another, job)
    handled = await asyncio.wait_for(asyncio.gather(*(each for _, each in sent)), SECONDS)
    # A message may be handled before its sender is told that the broker has it.
    late = [
        max(end - arrivals.committed[id], 0.0) for (id, _), end in zip(sent, handled, strict=True)
    ]
    return {
        "p50": median(times) * 1000,
        "p99": find_p99(times) * 1000,
        "rate": len(sent) / (max(handled) - began),
        "lag": find_p99(late) * 1000,
    }


def find_p99(times: list[float]) -> float:
    """Return the 99th percentile of two or more times: none that is longer than the longest."""
    return quantiles(times, n=100, method="inclusive")[98]
