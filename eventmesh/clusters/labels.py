"""The labels by which a service on a cluster says how it is scaled, and what counts without them.

The exports write them, and `eventmesh autoscale` reads them.
"""

from __future__ import annotations

from typing import Final

from eventmesh.clusters.abc import LABEL

RANGE_LABEL: Final = "autoscale"
LATENCY_LABEL: Final = "autoscale.latency"
CALM_LABEL: Final = "autoscale.calm"
"""Their names, without the `eventmesh.` before them."""

DEFAULT_LATENCY: Final = 1.0
"""Seconds within which what waits is to be begun, where nobody says."""

DEFAULT_CALM: Final = 300.0
"""Seconds for which fewer tasks must have been enough before some go, where nobody says."""


def scaling_labels(minimum: int, maximum: int, latency: float, calm: float) -> dict[str, str]:
    """Return the labels of a service with so many tasks; `latency` and `calm` are seconds."""
    return {
        f"{LABEL}.{RANGE_LABEL}": f"{minimum}..{maximum}",
        f"{LABEL}.{LATENCY_LABEL}": _format(latency),
        f"{LABEL}.{CALM_LABEL}": _format(calm),
    }


def _format(duration: float) -> str:
    """Return seconds as `eventmesh.model.duration` reads them: "0.25s", never "2.5e-01s"."""
    return f"{duration:.6f}".rstrip("0").rstrip(".") + "s"
