"""Which executions wait for which events: rows beside their operations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.durable.execution import Execution
from eventmesh.durable.operation import Operation
from eventmesh.durable.subscription import Subscription
from eventmesh.store.tables import subscriptions


async def store_subscriptions(
    connection: AsyncConnection,
    execution: Execution,
    changed: Collection[Operation],
    known: Collection[str],
) -> None:
    """Store those of new operations, and close those of operations that have ended."""
    subscribed = [each for each in changed if each.subscription is not None]
    added = [
        {
            "execution": execution.id,
            "operation": each.id,
            "function": execution.function,
            "shape": each.subscription.shape,
            "key": each.subscription.key,
            "open": not each.is_ended,
            "event": each.event,
        }
        for each in subscribed
        if each.id not in known and each.subscription is not None
    ]
    if added:
        await connection.execute(insert(subscriptions), added)
    own = subscriptions.c.execution == execution.id
    for each in subscribed:
        if each.is_ended and each.id in known:
            await connection.execute(
                update(subscriptions)
                .where(own, subscriptions.c.operation == each.id)
                .values(open=False, event=each.event)
            )
    operations = execution.operations.values()
    if execution.is_ended and any(each.subscription is not None for each in operations):
        await connection.execute(
            update(subscriptions).where(own, subscriptions.c.open).values(open=False)
        )


async def list_shapes(connection: AsyncConnection, function: str) -> Sequence[str]:
    """Return the shapes of what the executions of a function wait for.

    Each is found by a step in the index: there may be a million rows of one shape.
    """
    rows = subscriptions.alias()
    first = (
        select(func.min(subscriptions.c.shape).label("shape"))
        .where(subscriptions.c.function == function, subscriptions.c.open)
        .cte("shapes", recursive=True)
    )
    following = (
        select(func.min(rows.c.shape))
        .where(rows.c.function == function, rows.c.open, rows.c.shape > first.c.shape)
        .scalar_subquery()
    )
    shapes = first.union_all(select(following).where(first.c.shape.is_not(None)))
    query = select(shapes.c.shape).where(shapes.c.shape.is_not(None))
    return list((await connection.execute(query)).scalars())


async def find_subscribed(
    connection: AsyncConnection,
    function: str,
    wanted: Sequence[Subscription],
    event: str,
    most: int,
) -> Mapping[str, Sequence[str]]:
    """Return the open operations with these subscriptions, by execution, `most` at most in all.

    An execution that got this event before is left out.
    """
    got = subscriptions.alias()
    fits = or_(
        *(
            and_(subscriptions.c.shape == each.shape, subscriptions.c.key == each.key)
            for each in wanted
        )
    )
    had = select(got.c.execution).where(
        got.c.execution == subscriptions.c.execution, got.c.event == event
    )
    query = (
        select(subscriptions.c.execution, subscriptions.c.operation)
        .where(subscriptions.c.function == function, subscriptions.c.open, fits, ~had.exists())
        .order_by(subscriptions.c.execution, subscriptions.c.operation)
        .limit(most)
    )
    rows = (await connection.execute(query)).all()
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        found[row.execution].append(row.operation)
    return found
