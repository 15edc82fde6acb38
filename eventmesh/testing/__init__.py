"""A mesh in a test, with a clock that the test moves: see docs/guide/testing.md.

The names are imported when they are first used: pytest imports this package, for its plugin, even
if no test uses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventmesh.testing.clock import ManualClock
    from eventmesh.testing.mesh import TestMesh
    from eventmesh.testing.records import (
        DeadLettered,
        Emitted,
        Fired,
        Invoked,
        Record,
        Retried,
        Sent,
    )

_HOMES = {
    "ManualClock": "clock",
    "TestMesh": "mesh",
    **dict.fromkeys(
        ("DeadLettered", "Emitted", "Fired", "Invoked", "Record", "Retried", "Sent"), "records"
    ),
}

__all__ = [
    "DeadLettered",
    "Emitted",
    "Fired",
    "Invoked",
    "ManualClock",
    "Record",
    "Retried",
    "Sent",
    "TestMesh",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'eventmesh.testing' has no attribute {name!r}")
    return getattr(import_module(f"eventmesh.testing.{home}"), name)
