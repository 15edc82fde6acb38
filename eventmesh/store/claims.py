"""Requests with idempotency keys: which process runs them, and the answers that are kept.

A claim is a row with a lease by the database's clock. One task a process renews those of all its
runs, so a claim whose lease is over belongs to a process that has died, or seems so. Each claim has
a number of its own, and whoever has lost its claim changes nothing: neither the row, nor, by a
transaction that is committed with it, anything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Double, Row, delete, literal, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from eventmesh.aio.clock import Clock, TimeLimit, sleep
from eventmesh.aio.tasks import background_task
from eventmesh.engine.idempotency import Claimed, KeyedRequest
from eventmesh.model.errors import StoreUnavailable
from eventmesh.model.ids import new_id
from eventmesh.model.invocation.claim import Pending
from eventmesh.store.database import Database, log_failed_chore
from eventmesh.store.tables import claims

LEASE_SECONDS: Final = 15.0
"""How long a request of a process that has died is kept from the others."""

RENEW_SECONDS: Final = 3.0
"""How often leases are renewed."""

DROP_SECONDS: Final = 60.0
DROPPED: Final = 1_000
"""How often old answers are dropped, and how many in one transaction."""

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between two looks at a request that runs in another process."""

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class StoreClaim:
    """A claim on a request. See `eventmesh.model.invocation.claim.Claim`."""

    owner: StoreClaims
    scope: str
    number: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    pending: Pending | None = None

    def adopt(self, pending: Pending) -> None:
        self.pending = pending

    @property
    def adopted(self) -> bool:
        return self.pending is not None

    async def finish(self, answer: bytes) -> bool:
        return await self.owner.finish(self, answer)

    async def roll_back(self) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            await pending.roll_back()

    async def release(self) -> None:
        await self.roll_back()
        await self.owner.release(self)


class StoreClaims:
    """The claims of one process in one database, and the answers of all."""

    def __init__(self, database: Database, clock: Clock, owner: str, keep: float) -> None:
        """`owner` names this process among all. Answers are kept for `keep` seconds."""
        self._database = database
        self._clock = clock
        self._owner = owner
        self._keep = keep
        self._held: dict[str, StoreClaim] = {}
        self._unreleased: set[str] = set()
        """Numbers of claims that could not be released while the database was away."""
        self._away = False

    async def claim(self, request: KeyedRequest, wait: float) -> Claimed:
        ends = self._clock.monotonic() + wait
        pause = FIRST_PAUSE
        while True:
            claimed = await self._try(request)
            if claimed != "running":
                return claimed
            left = ends - self._clock.monotonic()
            if left <= 0:
                return claimed
            await self._wait(request, min(pause, left), left)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _wait(self, request: KeyedRequest, pause: float, left: float) -> None:
        """Wait until a run of this process ends, or, for one of another process, a moment."""
        held = self._held.get(request.scope)
        if held is None:
            await sleep(self._clock, pause)
            return
        try:
            with TimeLimit(self._clock, left):
                await held.ended.wait()
        except TimeoutError:
            return

    async def _try(self, request: KeyedRequest) -> Claimed:
        claim = StoreClaim(self, request.scope, new_id())
        async with self._database.begin() as connection:
            found = await self._insert_or_find(connection, request, claim)
            if found is not None:
                claimed = await self._judge(connection, request, claim, found)
                if claimed is not None:
                    return claimed
        # Held only now: until the commit nobody else sees it, and a failed commit holds nothing.
        self._held[request.scope] = claim
        return claim

    async def _insert_or_find(
        self, connection: AsyncConnection, request: KeyedRequest, claim: StoreClaim
    ) -> Row[Any] | None:
        """Insert a new claim, or return the row of the one that is there."""
        insert: Any = postgresql.insert if self._database.is_postgresql else sqlite.insert
        now = self._now()
        values = {"scope": claim.scope, **self._values(request, claim, now)}
        found = select(claims, now.label("now")).where(claims.c.scope == claim.scope)
        while True:
            new = insert(claims).values(values).on_conflict_do_nothing().returning(claims.c.scope)
            if (await connection.execute(new)).one_or_none() is not None:
                return None
            row = (await connection.execute(found)).one_or_none()
            if row is not None:  # Otherwise it was released in between.
                return row

    async def _judge(
        self, connection: AsyncConnection, request: KeyedRequest, claim: StoreClaim, found: Row[Any]
    ) -> Claimed | None:
        """Say what a claim that is there means; None if it is over, and ours now."""
        over = found.expires < found.now
        if not over and found.fingerprint != request.fingerprint:
            return "reused"
        if not over and found.answer is not None:
            return bytes(found.answer)
        if found.answer is None and (claim.scope in self._held or found.lease > found.now):
            return "running"
        taken = await connection.execute(
            update(claims)
            .where(claims.c.scope == claim.scope, claims.c.number == found.number)
            .where(claims.c.lease == found.lease)
            .values(**self._values(request, claim, self._now()), answer=None)
            .returning(claims.c.scope)
        )
        if taken.one_or_none() is None:
            return "running"  # Another process was faster.
        if found.answer is None:
            _log.warning(
                "%s: a request is run again, because the process that ran it has died",
                request.function,
            )
        return None

    def _values(
        self, request: KeyedRequest, claim: StoreClaim, now: ColumnElement[float]
    ) -> dict[str, Any]:
        return {
            "function": request.function,
            "fingerprint": request.fingerprint,
            "owner": self._owner,
            "number": claim.number,
            "lease": now + LEASE_SECONDS,
            "expires": now + self._keep,
        }

    def _now(self) -> ColumnElement[float]:
        """Return the time of the database's clock."""
        if self._database.is_postgresql:
            return literal_column(
                "CAST(extract(epoch FROM clock_timestamp()) AS double precision)", Double
            )
        return literal(self._clock.now())  # All who use the file are on this machine.

    async def finish(self, claim: StoreClaim, answer: bytes) -> bool:
        """Keep an answer. See `eventmesh.model.invocation.claim.Claim.finish`."""

        async def record(connection: Any) -> bool:
            now = self._now()
            kept = await connection.execute(
                update(claims)
                .where(claims.c.scope == claim.scope, claims.c.number == claim.number)
                .where(claims.c.answer.is_(None))
                .values(answer=answer, lease=0.0, expires=now + self._keep)
                .returning(claims.c.scope)
            )
            return kept.one_or_none() is not None

        pending, claim.pending = claim.pending, None
        if pending is not None:
            with self._database.working():
                kept = await pending.commit(record)
        else:
            async with self._database.begin() as connection:
                kept = await record(connection)
        self._forget(claim)
        return kept

    async def release(self, claim: StoreClaim) -> None:
        """Let the next one run the request. What cannot be released now is released later."""
        try:
            await self._delete([claim.number])
        except (StoreUnavailable, SQLAlchemyError) as error:
            _log.debug("a claim is released later", exc_info=error)
            self._unreleased.add(claim.number)
        finally:
            self._forget(claim)

    def _forget(self, claim: StoreClaim) -> None:
        if self._held.get(claim.scope) is claim:
            del self._held[claim.scope]
        claim.ended.set()

    async def _delete(self, numbers: list[str]) -> None:
        async with self._database.begin() as connection:
            await connection.execute(
                delete(claims).where(
                    claims.c.owner == self._owner,
                    claims.c.answer.is_(None),
                    claims.c.number.in_(numbers),
                )
            )

    @asynccontextmanager
    async def running(self, *, chores: bool) -> AsyncGenerator[None]:
        """With `chores`, renew the leases, and drop old answers, while entered."""
        if not chores:
            yield
            return
        async with background_task(self._renew_all()), background_task(self._drop_all()):
            yield

    async def _renew_all(self) -> None:
        while True:
            await sleep(self._clock, RENEW_SECONDS)
            try:
                await self._renew()
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                if not self._away:
                    _log.warning("the claims of this process cannot be renewed now: %s", error)
                self._away = True
            else:
                self._away = False

    async def _renew(self) -> None:
        if self._unreleased:
            numbers = list(self._unreleased)
            await self._delete(numbers)
            self._unreleased.difference_update(numbers)
        if not self._held:
            return
        async with self._database.begin() as connection:
            await connection.execute(
                update(claims)
                .where(claims.c.owner == self._owner, claims.c.answer.is_(None))
                .values(lease=self._now() + LEASE_SECONDS)
            )

    async def _drop_all(self) -> None:
        while True:
            await sleep(self._clock, DROP_SECONDS)
            try:
                while await self._drop() == DROPPED:
                    pass
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                log_failed_chore(_log, "old answers could not be dropped", error)

    async def _drop(self) -> int:
        old = (
            select(claims.c.scope)
            .where(claims.c.expires < self._now(), claims.c.lease < self._now())
            .limit(DROPPED)
            .with_for_update(skip_locked=True)
        )
        async with self._database.begin() as connection:
            scopes = list((await connection.execute(old)).scalars())
            if scopes:
                await connection.execute(delete(claims).where(claims.c.scope.in_(scopes)))
        return len(scopes)
