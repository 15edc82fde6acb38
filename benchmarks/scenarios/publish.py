"""Persistent orders a second stored in a durable queue, each confirmed by the broker."""

from __future__ import annotations

from benchmarks.processes import Figures, measure
from benchmarks.scenario import Bench, Scenario, peers_playing

COUNT = 50_000
SLOW_COUNT = 3_000
SLOW = frozenset({"nameko", "celery", "dramatiq"})
"""Those whose calls wait for each confirmation before the next can be made."""
IN_FLIGHT = 256


def publish(bench: Bench, name: str) -> Figures:
    return measure(name, "publish", bench.job(SLOW_COUNT if name in SLOW else COUNT, IN_FLIGHT))


SCENARIO = Scenario(
    "publish with confirms", peers_playing("publish"), {"rate": "messages/s"}, publish
)
