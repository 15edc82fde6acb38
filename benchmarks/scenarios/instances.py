"""Processes of their own: their start, their rate and their memory."""

from __future__ import annotations

from benchmarks.isolated import IN_FLIGHT, INSTANCES
from benchmarks.processes import Figures, running
from benchmarks.scenario import Bench, Scenario


def measure(bench: Bench, kind: str) -> Figures:
    """Of one kind of instances."""
    count = bench.job(20_000, IN_FLIGHT).count
    with running("-m", "benchmarks.isolated", kind, str(count)) as process:
        return process.figures()


SCENARIO = Scenario(
    f"eventmesh: {INSTANCES} instances of a function, embedded broker, {IN_FLIGHT} in flight",
    {"handler": "a handler of ours", "lambda": "an unmodified Lambda function in Python"},
    {
        "start": "started and first result, ms",
        "rate": "invocations/s",
        "memory": "memory an instance, PSS, MB",
    },
    measure,
    frozenset({"start", "memory"}),
)
