"""Which versions of durable functions were seen to run, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.store.tables import revisions


async def note_revision(
    connection: AsyncConnection, function: str, revision: str, now: float
) -> None:
    """Note that a version of a function runs."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    await connection.execute(
        dialect.insert(revisions)
        .values(function=function, revision=revision, seen=now)
        .on_conflict_do_update(index_elements=["function", "revision"], set_={"seen": now})
    )


async def list_revisions(connection: AsyncConnection, function: str, since: float) -> Sequence[str]:
    """Return the versions of a function that were seen since then, and drop the others."""
    own = revisions.c.function == function
    await connection.execute(delete(revisions).where(own, revisions.c.seen < since))
    return list((await connection.execute(select(revisions.c.revision).where(own))).scalars())
