"""Instances of a handler of ours, and of a Lambda function: run with "handler" or "lambda".

Over the embedded broker, so that nothing but the instances and their service is measured.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from benchmarks.job import Job, in_parallel, report
from eventmesh import Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

INSTANCES: Final = 8
IN_FLIGHT: Final = 64
STARTS: Final = 40
PAUSE: Final = 0.03
"""Seconds between two cold starts, in which the instance before ends."""

handlers, lambdas = Service("handlers"), Service("lambdas")


@handlers.function(isolation="process", instances=2, max_invocations=1)
def once(number: int) -> int:
    """Run once in each instance."""
    return number


@handlers.function(isolation="process", instances=INSTANCES)
def echo(number: int) -> int:
    """Return what was given."""
    return number


_CODE: Final = Path(__file__).parent / "lambdas"
_RUNTIME: Final = f"python3.{sys.version_info.minor}"
lambdas.lambda_function(
    "once", code=_CODE, handler="echo.handler", runtime=_RUNTIME, instances=2, max_invocations=1
)
lambdas.lambda_function(
    "echo", code=_CODE, handler="echo.handler", runtime=_RUNTIME, instances=INSTANCES, timeout=30
)
SERVICES: Final = {"handler": handlers, "lambda": lambdas}


async def _start_cold(invoke: Callable[[], Awaitable[object]], count: int) -> float:
    """The median time of an invocation for which a process is started, in milliseconds."""
    times: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        await invoke()
        times.append(time.perf_counter() - started)
        await asyncio.sleep(PAUSE)
    return median(times) * 1000


def _measure_memory(pid: int) -> float:
    """The proportional set size of a process, in megabytes (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _list_instances() -> list[int]:
    """The instances that run: children of the zygote, which is the only child of this process."""
    [zygote] = _list_children("self")
    return _list_children(zygote)


def _list_children(pid: int | str) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


async def main(kind: str, count: int) -> None:
    """Measure one kind, and report."""
    service = SERVICES[kind]
    async with (
        MemoryBroker() as broker,
        host_services([service], broker, Settings(), http=None) as host,
    ):

        async def cold() -> object:
            return await host.caller.invoke(f"{service.name}.once", {"number": 1})

        async def warm() -> object:
            return await host.caller.invoke(f"{service.name}.echo", {"number": 1})

        await _start_cold(cold, 3)
        start = await _start_cold(cold, min(STARTS, count))
        await asyncio.sleep(1)  # The last one has ended.
        await in_parallel(warm, Job("", "", 2 * IN_FLIGHT * INSTANCES, IN_FLIGHT))
        rate = await in_parallel(warm, Job("", "", count, IN_FLIGHT))
        sizes = [_measure_memory(pid) for pid in _list_instances()]
        report(start=start, rate=rate, memory=sum(sizes) / len(sizes), instances=len(sizes))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
