"""The recorded figures of one replica, one queue, one node and one cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.scenarios.scaled import SLOTS

RECORDED: Final = Path(__file__).with_name("recorded.json")
"""Written by `make bench ARGS="replica passing --json benchmarks/scaling/recorded.json"`."""

NODES: Final = 3
"""Nodes of the cluster, which shared the machine of the one node."""


@dataclass(frozen=True)
class Recorded:
    """Figures of one of each. Rates are messages a second, `start` and `duration` seconds.

    A replica is ready `start` seconds after it was started, and runs `slots` of `duration` at once.
    `queue`, `node` and `cluster` are what passes each: published, and consumed at the same time.
    `spreads` are the lowest and the highest of each that was measured.
    """

    machine: str
    start: float
    duration: float
    queue: float
    node: float
    cluster: float
    slots: int = SLOTS
    spreads: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )

    @property
    def own_machines(self) -> float:
        """What passes a cluster whose nodes have a machine each: computed, not measured.

        All its nodes together did `cluster` with the cores of one machine.
        """
        return NODES * self.cluster


def read_recorded(file: Path = RECORDED) -> Recorded:
    """Read the medians of a run of the benchmarks."""
    data = json.loads(file.read_text(encoding="utf-8"))
    scenarios: Mapping[str, Any] = data["scenarios"]

    def of(group: str, subject: str, figure: str, unit: float = 1.0) -> list[float]:
        return [each * unit for each in scenarios[group]["figures"][subject][figure].values()]

    measured = {
        "start": of("replica", "eventmesh", "start"),
        "duration": of("replica", "eventmesh", "duration", 0.001),
        "queue": of("passing", "queue", "rate"),
        "node": of("passing", "node", "rate"),
        "cluster": of("passing", "cluster", "rate"),
    }
    medians = {name: median(figures) for name, figures in measured.items()}
    return Recorded(
        data["machine"],
        start=medians["start"],
        duration=medians["duration"],
        queue=medians["queue"],
        node=medians["node"],
        cluster=medians["cluster"],
        spreads={name: (min(figures), max(figures)) for name, figures in measured.items()},
    )
