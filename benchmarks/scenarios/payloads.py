"""Sending and consuming orders of other sizes."""

from __future__ import annotations

from benchmarks.processes import Figures, complete, measure
from benchmarks.scenario import Bench, Scenario

SUBJECTS = {"100": "100 B", "1000": "1 KB", "10000": "10 KB", "1000000": "1 MB"}
COUNTS = {"100": 50_000, "1000": 50_000, "10000": 20_000, "1000000": 500}


def send_and_drain(bench: Bench, size: str) -> Figures:
    job = bench.job(COUNTS[size], 20, size=int(size))
    sent = measure("eventmesh", "publish", job)
    complete("eventmesh", "fill", job)
    return {"send": sent["rate"], **measure("eventmesh", "consume", job)}


SCENARIO = Scenario(
    "eventmesh: payloads",
    SUBJECTS,
    {"send": "send, messages/s", "rate": "consume, messages/s"},
    send_and_drain,
)
