"""Messages through a transactional outbox, until they are handled."""

from __future__ import annotations

from benchmarks.durable import STORE
from benchmarks.outbox import MODE, ROWS
from benchmarks.processes import Figures, running
from benchmarks.scenario import Bench, Scenario

COUNT = 10_000
IN_FLIGHT = 64

MODULES = {"faststream_outbox": "benchmarks.outbox.peer"}
MODES = {"eventmesh": "store"}
"""What those do that are called otherwise."""

UNITS = {
    "p50": "one alone until it is handled, p50, ms",
    "p99": "p99, ms",
    "rate": "64 at once, placed and handled/s",
    "lag": "then from commit to handler, p99, ms",
}
LOWER = frozenset({"p50", "p99", "lag"})


def measure(bench: Bench, name: str) -> Figures:
    job = bench.job(COUNT, IN_FLIGHT)
    module = MODULES.get(name, "benchmarks.outbox.ours")
    with bench.database() as url:
        environ = {STORE: url, MODE: MODES.get(name, name), ROWS: str(bench.rows)}
        with running("-m", module, job.dump(), environ=environ) as process:
            return process.figures()


SCENARIO = Scenario(
    "sent in a transaction",
    {
        "eventmesh": "eventmesh, in a transaction",
        "plain": "eventmesh, without a store",
        "faststream_outbox": "faststream-outbox",
    },
    UNITS,
    measure,
    LOWER,
)
CROWDED = Scenario(
    "sent in a transaction, where many were before",
    {
        "eventmesh": "eventmesh, a new database",
        "kept": "marks and results of --rows messages are kept",
        "dead": "--rows messages were deleted, autovacuum works",
    },
    {**UNITS, "vacuums": "runs of autovacuum"},
    measure,
    LOWER | {"vacuums"},
)
