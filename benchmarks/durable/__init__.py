"""What runs durable executions: one module each, imported only by its own process.

`python -m benchmarks.durable.NAME JOB` runs `job.count` steps, `STEPS` of them in each execution,
and reports the median time of a step alone, then the rate with `job.in_flight` executions at once.
"""

from __future__ import annotations

from typing import Final

STORE: Final = "EVENTMESH_BENCH_STORE"
"""The variable with the URL of the database."""

STEPS: Final = 10
"""Steps of one execution."""

ALONE: Final = 100
"""Steps that are measured one after the other, in one execution."""
