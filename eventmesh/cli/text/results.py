"""Results of asynchronous invocations as text."""

from __future__ import annotations

from datetime import UTC, datetime

from eventmesh.engine.results import StoredResult
from eventmesh.model.errors import FunctionNotFound
from eventmesh.observability.printable import printable


def require_known(found: StoredResult | None, id: str) -> StoredResult:
    """Return what is known of an invocation. Raises FunctionNotFound if nothing is."""
    if found is None:
        raise FunctionNotFound(
            f"invocation {id}",
            "no service remembers it: it was not run yet, it is longer ago than "
            "EVENTMESH_STORE_KEEP, or its service has no store",
        )
    return found


def result_text(result: StoredResult) -> str:
    """Describe a result in lines, each with a name and a value."""
    state = f"{result.state}, and told to end" if result.cancelling else result.state
    lines = {
        "function": result.function,
        "id": result.id,
        "state": state,
        "attempt": str(result.attempt),
        "created": _time(result.created),
        "updated": _time(result.updated),
    }
    if result.error is not None:
        lines["error"] = str(result.error)
    if result.too_large:
        lines["result"] = "too large to be kept"
    elif result.state == "succeeded":
        lines["result"] = result.body.decode(errors="replace")
    return "\n".join(f"{name:<10}{printable(text)}" for name, text in lines.items())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
