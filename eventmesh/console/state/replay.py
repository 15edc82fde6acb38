"""The recorded payload of an invocation, to run it again."""

from __future__ import annotations

from eventmesh.console.sources.source import Source
from eventmesh.model.errors import Problem
from eventmesh.model.ids import check_id
from eventmesh.model.runs import Run


async def find_recorded(source: Source, id: str, function: str = "") -> Run:
    """Return the latest run with an id, and its payload; `function` tells those of an event apart.

    Raises Problem, which says what is missing, DeclarationError for what can be no id, and
    BrokerUnavailable.
    """
    check_id(id)
    sights = await source.look(find=id)
    known = [run for sight in sights for run in (*sight.ended, *sight.runs) if run.id == id]
    runs = [run for run in known if function in ("", run.function)]
    names = sorted({run.function for run in runs})
    if not runs:
        raise Problem(404, f"no process remembers a run of {function or 'anything'} with that id")
    if len(names) > 1:
        raise Problem(409, f"it was run by {', '.join(names)}: say which one is to run it again")
    recorded = [run for run in runs if run.payload]
    if not recorded:
        raise Problem(
            409,
            "its payload was not recorded: it is too large, is no JSON, or "
            "EVENTMESH_RECORD_PAYLOADS is not true",
        )
    return max(recorded, key=lambda run: run.since)


def check_whole(run: Run) -> None:
    """Raise Problem for a payload that is not what the function was given."""
    if run.redacted:
        raise Problem(409, "its payload was recorded redacted: say with which payload to run it")
