"""Invocations a second through the embedded broker, in one process."""

from __future__ import annotations

from benchmarks.processes import Figures, measure
from benchmarks.scenario import Bench, Scenario


def call(bench: Bench, role: str) -> Figures:
    return measure("embedded", role, bench.job(100_000))


SCENARIO = Scenario(
    "eventmesh: embedded broker, one process",
    {
        "send": "send to handled",
        "invoke": "ctx.invoke, 1 in flight",
        "invoke64": "ctx.invoke, 64 in flight",
    },
    {"rate": "invocations/s"},
    call,
)
