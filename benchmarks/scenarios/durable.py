"""Steps of durable executions, recorded in one PostgreSQL, and executions that sleep."""

from __future__ import annotations

from benchmarks.durable import STORE
from benchmarks.processes import Figures, running
from benchmarks.scenario import Bench, Scenario

COUNT = 2_000
IN_FLIGHT = 64

SLEEPING = 100_000
DUE = 1_000

MODULES = {"eventmesh": "benchmarks.durable.ours", "dbos": "benchmarks.durable.dbos"}


def run_steps(bench: Bench, name: str) -> Figures:
    job = bench.job(COUNT, IN_FLIGHT)
    with (
        bench.database() as url,
        running("-m", MODULES[name], job.dump(), environ={STORE: url}) as one,
    ):
        return {**one.figures(), **one.figures()}


def sleep(bench: Bench, _: str) -> Figures:
    due = DUE // 50 if bench.quick else DUE
    job = bench.job(SLEEPING, due)
    command = ("-m", "benchmarks.durable.sleeping", job.dump())
    with bench.database() as url, running(*command, environ={STORE: url}) as one:
        return {**one.figures(), **one.figures()}


SCENARIO = Scenario(
    "steps of durable executions",
    {"eventmesh": "eventmesh", "dbos": "DBOS"},
    {"p50": "a step alone, p50, ms", "rate": "64 executions at once, steps/s"},
    run_steps,
    frozenset({"p50"}),
)
ASLEEP = Scenario(
    f"{SLEEPING:,} asleep, {DUE:,} due in a second",
    {"eventmesh": "eventmesh"},
    {
        "memory": "worker, MB more",
        "rows": "rows",
        "size": "bytes",
        "p50": "late, p50, s",
        "most": "latest, s",
    },
    sleep,
    frozenset({"memory", "rows", "size", "p50", "most"}),
)
