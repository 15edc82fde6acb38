"""What became of asynchronous invocations: one row each, written for many at once.

A write waits for those that are under way, and then takes all that has come meanwhile into one
transaction. So the writes of many runs cost few transactions, and none waits for a timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, and_, case, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.aio.clock import Clock, SystemClock, TimeLimit, sleep
from eventmesh.aio.tasks import background_task
from eventmesh.engine.results import (
    MAX_RESULT,
    State,
    StoredResult,
    dump_reason,
    load_reason,
)
from eventmesh.model.errors import StoreUnavailable
from eventmesh.model.message import JSON
from eventmesh.model.result import Failure
from eventmesh.store.database import Database, log_failed_chore
from eventmesh.store.outbox.messages import key_text
from eventmesh.store.tables import results

WRITTEN: Final = 256
"""Rows that are written in one transaction."""

MAX_KEPT: Final = 10_000
"""What is told while the database is away, and written later; the oldest is forgotten."""

POLL_SECONDS: Final = 1.0
"""How often a process looks which of its runs are cancelled, while it has some."""

WRITE_SECONDS: Final = 5.0
"""The limit for one transaction. Then the database counts as away, and no run waits for it."""

DROP_SECONDS: Final = 60.0
DROPPED: Final = 1_000
"""How often old rows are dropped, and how many in one transaction."""

CANCELLED_SECONDS: Final = 320 * 86_400.0
"""How long a cancellation is remembered: longer than the longest delay of a message."""

_REAL: Final = SystemClock()
"""A database takes the time that it takes, also for a test that moves its clock."""

_log: Final = logging.getLogger(__name__)

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class _Write:
    """A row to be written, and who waits for it: told whether the invocation may run."""

    row: dict[str, Any]
    written: asyncio.Future[bool] | None

    @property
    def key(self) -> Key:
        return self.row["function"], self.row["id"]


class StoreResults:
    """The results in one database. See `eventmesh.engine.results.Results`."""

    def __init__(self, database: Database, clock: Clock, keep: float) -> None:
        """What has ended is kept for `keep` seconds."""
        self._database = database
        self._clock = clock
        self._keep = keep
        self._insert: Any = postgresql.insert if database.is_postgresql else sqlite.insert
        self._queue: deque[_Write] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._kept: OrderedDict[Key, _Write] = OrderedDict()
        self._away = False
        self._watched: dict[Key, list[Callable[[], object]]] = {}

    async def begin(self, function: str, id: str, attempt: int, created: float) -> bool:
        return await self._write(self._row(function, id, "running", attempt, created))

    async def note(
        self,
        function: str,
        id: str,
        state: State,
        attempt: int,
        created: float,
        *,
        body: bytes = b"",
        content_type: str = JSON,
        error: Failure | None = None,
    ) -> None:
        row = self._row(function, id, state, attempt, created)
        row["too_large"] = len(body) > MAX_RESULT
        if not row["too_large"]:
            row["body"], row["content_type"] = body, content_type
        row["error"] = dump_reason(error)
        await self._write(row)

    def _row(
        self, function: str, id: str, state: State, attempt: int, created: float
    ) -> dict[str, Any]:
        now = self._clock.now()
        return {
            "function": function,
            "id": key_text(id),
            "state": state,
            "attempt": attempt,
            "cancel": False,
            "created": created,
            "updated": now,
            "expires": now + (CANCELLED_SECONDS if state == "cancelled" else self._keep),
            "body": b"",
            "content_type": JSON,
            "too_large": False,
            "error": "",
        }

    async def _write(self, row: dict[str, Any]) -> bool:
        """Have a row written; True at once while the database is away."""
        write = _Write(row, None)
        if self._away:
            self._kept[write.key] = write
            self._trim()
            return True
        self._kept.pop(write.key, None)
        write.written = asyncio.get_running_loop().create_future()
        self._queue.append(write)
        self._idle.clear()
        self._wake.set()
        return await write.written

    def _trim(self) -> None:
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    async def _write_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._write_some(self._take())
            self._idle.set()

    async def wait_idle(self) -> bool:
        """Wait until all that was told is written; False if it was so already."""
        if self._idle.is_set():
            return False
        await self._idle.wait()
        return True

    def _take(self) -> list[_Write]:
        """Take the next writes, of each row one: a second one of the same row comes later."""
        taken: dict[Key, _Write] = {}
        left: list[_Write] = []
        while self._queue and len(taken) < WRITTEN:
            write = self._queue.popleft()
            if write.key in taken:
                left.append(write)
            else:
                taken[write.key] = write
        self._queue.extendleft(reversed(left))
        return list(taken.values())

    async def _write_some(self, writes: Sequence[_Write]) -> None:
        allowed: set[Key] | None = None
        try:
            with TimeLimit(_REAL, WRITE_SECONDS):
                async with self._database.begin() as connection:
                    allowed = await self._upsert(connection, [write.row for write in writes])
            self._note_back()
        except Exception as error:  # noqa: BLE001 - no run waits for it
            self._note_away(error)
        for write in writes:
            if allowed is None:
                self._kept.setdefault(write.key, write)  # What is there already is newer.
            if write.written is not None and not write.written.done():
                write.written.set_result(allowed is None or write.key in allowed)
        self._trim()

    async def _upsert(
        self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]
    ) -> set[Key]:
        """Write rows, in the order of their keys; return those of invocations that may run."""
        ordered = sorted(rows, key=lambda row: (row["function"], row["id"]))
        new = self._insert(results).values(ordered)
        excluded = new.excluded
        taken = ("attempt", "updated", "expires", "body", "content_type", "too_large", "error")
        # A cancelled one is not run any more: neither by a retry nor after a crash.
        over = and_(results.c.cancel, excluded.state == "retrying")
        query = new.on_conflict_do_update(
            index_elements=["function", "id"],
            set_={
                **{name: excluded[name] for name in taken},
                "state": case((over, "cancelled"), else_=excluded.state),
                # What is redriven later is not cancelled by what came too late.
                "cancel": and_(results.c.cancel, excluded.state.not_in(("succeeded", "failed"))),
            },
            where=and_(
                or_(~results.c.cancel, excluded.state != "running"), excluded.state != "waiting"
            ),
        ).returning(results.c.function, results.c.id)
        return {(row.function, row.id) for row in await connection.execute(query)}

    def _note_away(self, error: Exception) -> None:
        if not self._away:
            _log.warning(
                "what becomes of invocations cannot be stored now, they run all the same, also "
                "those that are cancelled: %s",
                error,
                exc_info=None if isinstance(error, StoreUnavailable) else error,
            )
        self._away = True

    def _note_back(self) -> None:
        if self._away:
            _log.info("what becomes of invocations is stored again")
        self._away = False

    @contextmanager
    def watch(self, function: str, id: str, cancel: Callable[[], object]) -> Generator[None]:
        key = function, key_text(id)
        self._watched.setdefault(key, []).append(cancel)
        try:
            yield
        finally:
            watching = self._watched[key]
            watching.remove(cancel)
            if not watching:
                del self._watched[key]

    async def find(self, service: str, id: str, function: str = "") -> Sequence[StoredResult]:
        query = select(results).where(results.c.id == key_text(id))
        if function:
            query = query.where(results.c.function == function)
        else:
            query = query.where(results.c.function.startswith(f"{service}.", autoescape=True))
        async with self._database.begin() as connection:
            return [_read(row, id) for row in await connection.execute(query)]

    async def cancel(self, function: str, id: str) -> StoredResult:
        row = self._row(function, id, "cancelled", 0, self._clock.now()) | {"cancel": True}
        new = self._insert(results).values(row)
        query = new.on_conflict_do_update(
            index_elements=["function", "id"],
            set_={
                "cancel": True,
                "state": case((results.c.state == "running", "running"), else_="cancelled"),
                "updated": new.excluded.updated,
                "expires": new.excluded.expires,
            },
            where=results.c.state.in_(("waiting", "retrying", "running")),
        )
        found = select(results).where(results.c.function == function, results.c.id == row["id"])
        async with self._database.begin() as connection:
            await connection.execute(query)
            known = (await connection.execute(found)).one()
        self._cancel_runs([known])
        return _read(known, id)

    @asynccontextmanager
    async def running(self, *, chores: bool) -> AsyncGenerator[None]:
        """Write what is told while entered.

        With `chores`, runs that other processes cancel are ended, and what is old is dropped.
        """
        async with AsyncExitStack() as tasks:
            await tasks.enter_async_context(background_task(self._write_all()))
            if chores:
                for pause, work in ((POLL_SECONDS, self._look), (DROP_SECONDS, self._drop)):
                    await tasks.enter_async_context(background_task(self._repeat(pause, work)))
            yield

    async def _repeat(self, pause: float, work: Callable[[], Any]) -> None:
        while True:
            await sleep(self._clock, pause)
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                log_failed_chore(_log, "the results could not be kept in order", error)

    async def _look(self) -> None:
        """Write what was told while the database was away, and end runs that are cancelled."""
        if self._kept:
            some = [self._kept.popitem(last=False)[1] for _ in range(min(WRITTEN, len(self._kept)))]
            self._queue.extend(_Write(write.row, None) for write in some)
            self._idle.clear()
            self._wake.set()
        else:
            self._away = False
        if not self._watched:
            return
        query = select(results).where(results.c.cancel, results.c.state == "running")
        async with self._database.begin() as connection:
            rows = (await connection.execute(query.limit(1_000))).all()
        self._cancel_runs(rows)

    def _cancel_runs(self, rows: Sequence[Row[Any]]) -> None:
        for row in rows:
            if row.cancel and row.state == "running":
                for cancel in tuple(self._watched.get((row.function, row.id), ())):
                    cancel()

    async def _drop(self) -> None:
        now = self._clock.now()
        old = (
            select(results.c.function, results.c.id)
            .where(results.c.expires < now)
            .order_by(results.c.expires)
            .limit(DROPPED)
            .with_for_update(skip_locked=True)
        )
        while True:
            async with self._database.begin() as connection:
                rows = [tuple(row) for row in await connection.execute(old)]
                for function in {function for function, _ in rows}:
                    ids = [id for name, id in rows if name == function]
                    await connection.execute(
                        delete(results).where(
                            results.c.function == function,
                            results.c.id.in_(ids),
                            results.c.expires < now,
                        )
                    )
            if len(rows) < DROPPED:
                return


def _read(row: Row[Any], id: str) -> StoredResult:
    return StoredResult(
        id=id,
        function=row.function,
        state=row.state,
        attempt=row.attempt,
        created=row.created,
        updated=row.updated,
        body=bytes(row.body),
        content_type=row.content_type,
        error=load_reason(row.error),
        cancelling=row.cancel and row.state == "running",
        too_large=row.too_large,
    )
