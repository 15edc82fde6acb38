"""The rows of the history: made of what processes tell, and read in pages."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from sqlalchemy import Row, and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.model.runs import MAX_TEXT, KeptRun, KeptRuns, Place, Run, RunFilter, find_place
from eventmesh.store.outbox.messages import key_text
from eventmesh.store.tables import MAX_KEY, runs

EXAMINED: Final = 10_000
"""Rows that one page looks through for an outcome or a trigger, which no index knows."""

_ROW_BYTES: Final = 200
"""About what a row takes beside its texts."""

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def make_row(instance: str, run: Run, oldest: float, latest: float) -> dict[str, Any] | None:
    """Return the row of a run; None for one that began before `oldest` or after `latest`.

    Whoever writes to the broker may have sent it: each text is cut, each number within its column.
    """
    if not oldest <= run.since <= latest or not math.isfinite(run.duration) or not run.outcome:
        return None
    started, key = find_place(run)
    return {
        "key": key,
        "instance": _cut(instance),
        "number": max(0, min(run.number, 2**63 - 1)),
        "id": key_text(_clean(run.id)),
        "function": _cut(run.function),
        "started": started,
        "duration": max(0.0, run.duration),
        "attempt": max(0, min(run.attempt, 2**31 - 1)),
        "trigger": _cut(run.trigger),
        "caller": _cut(run.caller),
        "correlation_id": key_text(_clean(run.correlation_id)),
        "outcome": _cut(run.outcome),
        "error_type": _cut(run.error_type),
        "error": _clean(run.error)[:MAX_TEXT],
    }


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).encode(errors="replace").decode()


def _cut(text: str) -> str:
    return _clean(text[:MAX_KEY])


def size_of(row: dict[str, Any]) -> int:
    """Return about how many bytes a row takes in memory."""
    return _ROW_BYTES + sum(len(text) for text in row.values() if isinstance(text, str))


async def read_rows(
    connection: AsyncConnection, which: RunFilter, before: Place | None, most: int, oldest: float
) -> KeptRuns:
    """Return at most `most` runs that a filter selects, the latest first.

    They are before the place `before`, or the latest of all, and began at `oldest` or later.
    """
    place = tuple_(runs.c.started, runs.c.key)
    latest_first = runs.c.started.desc(), runs.c.key.desc()
    indexed = [runs.c.started >= max(oldest, which.since or oldest)]
    if which.until is not None:
        indexed.append(runs.c.started < which.until)
    if before is not None:
        indexed.append(place < tuple_(*before))
    if which.find:
        find = key_text(which.find)
        indexed.append(or_(runs.c.id == find, runs.c.correlation_id == find))
    if which.correlation_id:
        indexed.append(runs.c.correlation_id == key_text(which.correlation_id))
    if which.function:
        indexed.append(runs.c.function == which.function)
    filtered = [
        column == text
        for column, text in ((runs.c.outcome, which.outcome), (runs.c.trigger, which.trigger))
        if text
    ]
    end: Place | None = None
    if filtered:
        # A transaction of SQLite keeps writers waiting: no page looks through all there is.
        last = select(runs.c.started, runs.c.key).where(*indexed).order_by(*latest_first)
        row = (await connection.execute(last.offset(EXAMINED - 1).limit(1))).first()
        if row is not None:
            end = row.started, row.key
            indexed.append(place >= tuple_(*end))
    query = select(runs).where(and_(*indexed, *filtered)).order_by(*latest_first)
    found = [_load(row) for row in await connection.execute(query.limit(most + 1))]
    if len(found) > most:
        return KeptRuns(found[:most], found[most - 1].place)
    return KeptRuns(found, end)


def _load(row: Row[Any]) -> KeptRun:
    run = Run(
        number=row.number,
        id=row.id,
        function=row.function,
        since=row.started,
        attempt=row.attempt,
        trigger=row.trigger,
        caller=row.caller,
        correlation_id=row.correlation_id,
        outcome=row.outcome,
        duration=row.duration,
        error_type=row.error_type,
        error=row.error,
    )
    return KeptRun(row.instance, run, (row.started, row.key))
