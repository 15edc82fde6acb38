"""What a relay asks of the outbox, and how it changes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    CompoundSelect,
    Row,
    bindparam,
    delete,
    exists,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.store.outbox.leases import Lane
from eventmesh.store.tables import inbox, outbox

LANE_ROWS: Final = 128
"""Messages of one lane that a relay takes at once."""

PASS_BYTES: Final = 16 * 1024 * 1024
"""Bytes of bodies that a relay takes at once, unless one message alone has more."""

MAX_COUNTED: Final = 100_000
"""Messages that are counted of each lane for the metrics, at most."""

DROPPED: Final = 1_000
"""Marks that are dropped in one transaction."""

_NOW: Final = "now"


async def read_due(
    connection: AsyncConnection, lanes: Collection[Lane], now: float
) -> list[Row[Any]]:
    """Return the oldest messages of each lane, in their order, without those that have to wait.

    They are always read from the beginning, and never from behind the last id that was read:
    PostgreSQL shows a row only when its transaction is committed, which may be after one with a
    higher id was read. What waits, or stands behind what waits under the same key, is left out.
    """
    if not lanes:
        return []
    heads = _build_heads(tuple(sorted(lanes)))
    sizes = (await connection.execute(heads, {_NOW: now})).all()
    chosen: list[int] = []
    total = 0
    for id, size in sorted((id, size) for id, size in sizes):
        if chosen and total + size > PASS_BYTES:
            break
        chosen.append(id)
        total += size
    if not chosen:
        return []
    rows = await connection.execute(
        select(outbox).where(outbox.c.id.in_(chosen)).order_by(outbox.c.id)
    )
    return list(rows)


# To build it takes a good part of what a pass over few messages does.
@lru_cache(maxsize=256)
def _build_heads(lanes: tuple[Lane, ...]) -> CompoundSelect[int, int]:
    """Return the query for ids and sizes of what is due, by the time _NOW."""
    blocking = outbox.alias()
    free = ~exists().where(
        blocking.c.service == outbox.c.service,
        blocking.c.order_key == outbox.c.order_key,
        blocking.c.not_before > bindparam(_NOW),
    )
    return union_all(
        *(
            select(
                select(outbox.c.id, outbox.c.size)
                .where(outbox.c.service == service, outbox.c.lane == lane, free)
                .order_by(outbox.c.id)
                .limit(LANE_ROWS)
                .subquery()
            )
            for service, lane in lanes
        )
    )


async def delete_published(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Delete exactly these messages."""
    await connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))


async def note_failure(
    connection: AsyncConnection, id: int, *, not_before: float, error: str
) -> None:
    """Note that a message could not be published, and when to try again."""
    await connection.execute(
        update(outbox)
        .where(outbox.c.id == id)
        .values(attempts=outbox.c.attempts + 1, not_before=not_before, error=error)
    )


async def next_wait(connection: AsyncConnection) -> float | None:
    """Return when the first message that waits may be tried again; None if none waits."""
    query = select(func.min(outbox.c.not_before)).where(outbox.c.not_before.is_not(None))
    earliest: float | None = (await connection.execute(query)).scalar()
    return earliest


async def count_pending(
    connection: AsyncConnection, lanes: Collection[Lane]
) -> Mapping[str, tuple[int, float | None]]:
    """Return by service how many messages these lanes hold, and when the oldest was stored."""
    found: dict[str, tuple[int, float | None]] = {}
    for service, lane in sorted(lanes):
        here = (outbox.c.service == service, outbox.c.lane == lane)
        some = select(outbox.c.id).where(*here).limit(MAX_COUNTED).subquery()
        count = (await connection.execute(select(func.count()).select_from(some))).scalar_one()
        query = select(outbox.c.stored).where(*here).order_by(outbox.c.id).limit(1)
        stored: float | None = (await connection.execute(query)).scalar()
        pending, oldest = found.get(service, (0, None))
        times = [time for time in (stored, oldest) if time is not None]
        found[service] = (pending + count, min(times, default=None))
    return found


async def drop_marks(connection: AsyncConnection, now: float) -> int:
    """Drop marks that are older than any repetition, at most DROPPED; return how many."""
    old = (
        select(inbox.c.function, inbox.c.id)
        .where(inbox.c.expires < now)
        .order_by(inbox.c.expires)
        .limit(DROPPED)
        .with_for_update(skip_locked=True)
    )
    rows = [tuple(row) for row in await connection.execute(old)]
    if rows:
        for function in {function for function, _ in rows}:
            ids = [id for name, id in rows if name == function]
            await connection.execute(
                delete(inbox).where(
                    inbox.c.function == function, inbox.c.id.in_(ids), inbox.c.expires < now
                )
            )
    return len(rows)
