"""What one replica does, and what passes one queue, one node and one cluster of three.

`benchmarks.scaling` computes from these figures what more replicas would do.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from queue import SimpleQueue

from benchmarks.job import Job
from benchmarks.peers.chunks import CHUNK
from benchmarks.processes import Figures, next_report, peer, running
from benchmarks.scenario import Bench, Scenario

COUNT = 20_000
SLOTS = 10
SECONDS = 0.1
"""What a run waits for, in a replica that runs `SLOTS` at once."""


def replica(bench: Bench, _: str) -> Figures:
    """Time from its start until it is ready, and how long runs take when all slots are used."""
    job = bench.job(2_000, SLOTS, wait=SECONDS)
    started = time.perf_counter()
    with running(*peer("eventmesh_alone", "work", job)) as process:
        process.report()
        ready = time.perf_counter() - started
        with running(*peer("eventmesh", "fill", job)) as sender:
            sender.finish()
        return {"start": ready, **process.figures()}


def _pass(jobs: list[Job], consumers: int) -> Figures:
    """Publish to all queues and consume from them at once; what passes in a second."""
    reports: SimpleQueue[Figures | None] = SimpleQueue()
    with ExitStack() as processes:
        for job in jobs:
            for _ in range(consumers):
                command = peer("eventmesh_alone", "share", job)
                processes.enter_context(running(*command, reports=reports))
        waiting = len(jobs) * consumers
        while waiting:
            # Those without figures say that one is ready.
            waiting -= not next_report(reports)
        senders = [
            processes.enter_context(running(*peer("eventmesh", "fill", job))) for job in jobs
        ]
        # What is in unfinished chunks at the end nobody reports.
        wanted = sum(job.count // CHUNK - consumers for job in jobs)
        times = [next_report(reports)["at"] for _ in range(wanted)]
        for sender in senders:
            sender.finish()
    return {"rate": (wanted - 1) * CHUNK / (max(times) - min(times))}


def passing(bench: Bench, subject: str) -> Figures:
    """The rate at which messages are published to queues and consumed from them at once."""
    queues, consumers = {"queue": (1, 2), "node": (4, 1), "cluster": (4, 1)}[subject]
    jobs = [bench.job(COUNT, 100, on_cluster=subject == "cluster") for _ in range(queues)]
    return _pass(jobs, consumers)


REPLICA = Scenario(
    f"eventmesh: one replica, {SLOTS} runs of {SECONDS * 1000:.0f} ms at once",
    {"eventmesh": "eventmesh"},
    {"start": "ready, s", "duration": "a run, ms", "rate": "runs/s"},
    replica,
    frozenset({"start", "duration"}),
)
PASSING = Scenario(
    "eventmesh: messages published and consumed at once",
    {
        "queue": "one queue",
        "node": "four queues of one node",
        "cluster": "four queues of three nodes on this machine",
    },
    {"rate": "messages/s"},
    passing,
)
