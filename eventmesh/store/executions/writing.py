"""Writes what a transition changed: on PostgreSQL in one statement, whatever there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.durable.event import Event
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Change
from eventmesh.durable.operation import Operation
from eventmesh.store.tables import events, executions, operations

_EXECUTION: Final = TypeAdapter(Execution)
_OPERATION: Final = TypeAdapter(Operation)
_EVENT: Final = TypeAdapter(Event)

_ALL: Final = text("""
WITH execution AS (
    UPDATE eventmesh_executions SET status = :status, ended = :ended, wake = :wake, state = :state
    WHERE id = :execution
), changed AS (
    INSERT INTO eventmesh_operations (execution, id, place, open, changed, state)
    SELECT :execution, id, place, open, changed, state
    FROM unnest(
        CAST(:ids AS text[]), CAST(:places AS int[]), CAST(:opens AS bool[]),
        CAST(:changes AS int[]), CAST(:states AS text[])
    ) AS given (id, place, open, changed, state)
    ON CONFLICT (execution, id)
    DO UPDATE SET open = excluded.open, changed = excluded.changed, state = excluded.state
)
INSERT INTO eventmesh_events (execution, id, state)
SELECT :execution, id, state
FROM unnest(CAST(:event_ids AS int[]), CAST(:event_states AS text[])) AS given (id, state)
""")
"""A step is recorded in one round trip instead of three."""


def execution_columns(execution: Execution) -> dict[str, Any]:
    """What changes in the row of an execution."""
    return {
        "status": execution.status,
        "ended": execution.ended,
        "wake": execution.wake,
        "state": _EXECUTION.dump_json(execution, exclude={"operations"}).decode(),
    }


async def write_changes(
    connection: AsyncConnection, change: Change, places: Mapping[str, int]
) -> None:
    """Write an execution, its operations that changed, and its new events.

    `places` are those of the operations that are stored already.
    """
    execution, changes = change.execution, change.transition.changes
    changed = changes.operations.values()
    first = execution.count - sum(1 for each in changed if each.id not in places)
    numbers = iter(range(first + 1, execution.count + 1))
    rows = [
        {
            "execution": execution.id,
            "id": each.id,
            "place": places[each.id] if each.id in places else next(numbers),
            "open": not each.is_ended,
            "changed": each.changed,
            "state": _OPERATION.dump_json(each, exclude_defaults=True).decode(),
        }
        for each in changed
    ]
    appended = [
        {"execution": execution.id, "id": each.id, "state": _EVENT.dump_json(each).decode()}
        for each in changes.events
    ]
    if connection.dialect.name == "postgresql":
        await _write_at_once(connection, execution, rows, appended)
    else:
        await _write_each(connection, execution, rows, appended, places)


async def _write_at_once(
    connection: AsyncConnection,
    execution: Execution,
    rows: Sequence[dict[str, Any]],
    appended: Sequence[dict[str, Any]],
) -> None:
    await connection.execute(
        _ALL,
        {
            "execution": execution.id,
            **execution_columns(execution),
            "ids": [row["id"] for row in rows],
            "places": [row["place"] for row in rows],
            "opens": [row["open"] for row in rows],
            "changes": [row["changed"] for row in rows],
            "states": [row["state"] for row in rows],
            "event_ids": [row["id"] for row in appended],
            "event_states": [row["state"] for row in appended],
        },
    )


async def _write_each(
    connection: AsyncConnection,
    execution: Execution,
    rows: Sequence[dict[str, Any]],
    appended: Sequence[dict[str, Any]],
    places: Mapping[str, int],
) -> None:
    own = executions.c.id == execution.id
    await connection.execute(update(executions).where(own).values(execution_columns(execution)))
    added = [row for row in rows if row["id"] not in places]
    if added:
        await connection.execute(insert(operations), added)
    for row in rows:
        if row["id"] in places:
            await connection.execute(
                update(operations)
                .where(operations.c.execution == execution.id, operations.c.id == row["id"])
                .values(row)
            )
    if appended:
        await connection.execute(insert(events), appended)
