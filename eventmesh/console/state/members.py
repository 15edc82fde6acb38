"""Runs as plain values."""

from __future__ import annotations

from typing import Any, Final

import orjson

from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.runs import Described, Run

MAX_SCHEMA: Final = 256 * 1024
"""Bytes of the largest JSON Schema that is shown."""


def run_members(instance: str, run: Run, *, of_history: bool = False) -> dict[str, Any]:
    """Return a run of a process as plain values; `of_history` says that no process told of it."""
    members: dict[str, Any] = {
        "key": f"{instance}/{run.number}",
        "id": run.id,
        "function": run.function,
        "instance": instance,
        "since": run.since,
        "attempt": run.attempt,
        "trigger": run.trigger,
        "caller": run.caller,
        "correlation_id": run.correlation_id,
    }
    if run.outcome:
        members |= {
            "started": run.since,
            "duration": run.duration,
            "outcome": run.outcome,
            "error_type": run.error_type,
            "error": run.error,
        }
    if of_history:
        members["history"] = True
    if run.payload:
        members |= {"payload": run.payload, "redacted": run.redacted}
    return members


def described_members(name: str, described: Described | None) -> dict[str, Any]:
    """Return what a process says of a function's code as plain values: empty if it says nothing.

    What another process may have written, and is none, is left out.
    """
    if described is None or described.function != name:
        return {"schema": None, "code": "", "description": ""}
    schema: Any = None
    try:
        if len(described.schema) <= MAX_SCHEMA:
            check_nodes(described.schema.encode())
            schema = orjson.loads(described.schema)
    except (PayloadTooLarge, ValueError):
        schema = None
    return {
        "schema": schema if isinstance(schema, dict) else None,
        "code": described.code,
        "description": described.description,
    }
