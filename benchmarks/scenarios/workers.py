"""One queue and several worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from queue import SimpleQueue

from benchmarks.peers.chunks import CHUNK
from benchmarks.processes import Figures, complete, next_report, peer, running
from benchmarks.scenario import Bench, Scenario

COUNT = 150_000
SUBJECTS = {"1": "1 worker", "2": "2 workers", "4": "4 workers"}


START_SECONDS = 5.0
"""How long after they were started the workers begin, all at once."""


def drain(bench: Bench, number: str) -> Figures:
    """The rate from the first report of any worker to when the queue is nearly drained."""
    job = bench.job(COUNT, 100)
    complete("eventmesh", "fill", job)
    reports: SimpleQueue[Figures | None] = SimpleQueue()
    with ExitStack() as processes:
        beginning = replace(job, wait=time.monotonic() + START_SECONDS)
        for _ in range(int(number)):
            command = peer("eventmesh_alone", "share", beginning)
            processes.enter_context(running(*command, reports=reports))
        # What is in unfinished chunks at the end nobody reports.
        chunks = job.count // CHUNK - int(number)
        times = [said["at"] for said in _chunks(reports, chunks)]
    return {"rate": (chunks - 1) * CHUNK / (max(times) - min(times))}


def _chunks(reports: SimpleQueue[Figures | None], number: int) -> Iterator[Figures]:
    while number:
        # The others say that a worker is ready.
        if said := next_report(reports):
            number -= 1
            yield said


SCENARIO = Scenario("eventmesh: workers on one queue", SUBJECTS, {"rate": "messages/s"}, drain)
