"""The history of a console: runs that have ended, written in the background and kept for a time.

Nobody waits for a write: what is told while the database is away or slow waits in memory, up to a
bound, beyond which the oldest is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.aio.clock import Clock, SystemClock, TimeLimit, sleep
from eventmesh.aio.tasks import background_task
from eventmesh.model.errors import SettingsError, StoreUnavailable
from eventmesh.model.runs import KeptRun, KeptRuns, Place, Run, RunFilter
from eventmesh.model.settings import StoreMigrate
from eventmesh.store.database import Database, log_failed_chore
from eventmesh.store.history.rows import make_row, read_rows, size_of
from eventmesh.store.migrate import prepare_tables
from eventmesh.store.tables import runs
from eventmesh.store.urls import read_store_url

WRITTEN: Final = 256
"""Rows that are written in one transaction."""

MAX_WAITING: Final = 10_000
MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
"""Rows, and about their bytes, that wait to be written."""

WRITE_SECONDS: Final = 5.0
READ_SECONDS: Final = 2.0
"""The limits for one write and one read. Then the database counts as away."""

MAX_FOUND: Final = 1_000
"""Runs with an id, or of its chain, that are told: the latest."""

SLOW_SECONDS: Final = 10.0
"""Seconds for which a database that was too slow for one read is asked for none."""

DROP_SECONDS: Final = 60.0
DROPPED: Final = 1_000
DROP_PAUSE: Final = 0.1
"""How often old rows are dropped, how many in one transaction, and the seconds between two."""

MAX_AHEAD: Final = 300.0
"""Seconds that the clock of a process may be ahead: what begins later would be kept too long."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
"""Seconds between two tries to reach a database that is away."""

_SLOW: Final = "the database is too slow"

_REAL: Final = SystemClock()
"""A database takes the time that it takes, also for a test that moves its clock."""

_log: Final = logging.getLogger(__name__)

T = TypeVar("T")


class RunHistory:
    """The history in one database.

    `find` and `read` raise StoreUnavailable: at once while the database is known to be away, else
    within `READ_SECONDS`.
    """

    def __init__(self, database: Database, clock: Clock, keep: float, how: StoreMigrate) -> None:
        """Runs are kept until `keep` seconds after they began; `how` is as for the tables."""
        self.keep = keep
        self.dropped = 0
        """Runs that were not written: the database was away or slow for too long."""
        self.unavailable_reason = "it is being opened"
        """Why the history cannot be read now; "" if it can be."""
        self._database = database
        self._clock = clock
        self._how: StoreMigrate = how
        self._insert: Any = postgresql.insert if database.is_postgresql else sqlite.insert
        self._waiting: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._prepared = False
        self._slow_until = 0.0
        self._told = False
        self._tried = asyncio.Event()
        self._wake = asyncio.Event()

    def record(self, ended: Iterable[tuple[str, Run]]) -> None:
        """Have runs written that have ended, each with the id of its process. It does not wait.

        A run that is known already is not written again. What no process can mean, and is too old
        to be kept, is left out.
        """
        now = self._clock.now()
        for instance, run in ended:
            row = make_row(instance, run, now - self.keep, now + MAX_AHEAD)
            if row is not None:
                self._put(row)
        self._trim()
        if self._waiting:
            self._wake.set()

    async def find(self, id: str) -> list[KeptRun]:
        """Return the runs with an id or a correlation id, the latest first."""
        found = await self.read(RunFilter(find=id), None, MAX_FOUND)
        return list(found.runs)

    async def read(self, which: RunFilter, before: Place | None, most: int) -> KeptRuns:
        """Return at most `most` runs of those before a place, or of all, the latest first.

        Fewer may be returned although more follow: a page looks through some rows at most.
        """
        oldest = self._clock.now() - self.keep
        return await self._ask(
            lambda connection: read_rows(connection, which, before, most, oldest)
        )

    async def _ask(self, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if self.unavailable_reason:
            raise StoreUnavailable(f"the history cannot be read now: {self.unavailable_reason}")
        if _REAL.monotonic() < self._slow_until:
            raise StoreUnavailable(f"the history cannot be read now: {_SLOW}")
        try:
            with TimeLimit(_REAL, READ_SECONDS):
                async with self._database.begin() as connection:
                    return await read(connection)
        except TimeoutError as error:
            self._slow_until = _REAL.monotonic() + SLOW_SECONDS
            raise StoreUnavailable(f"the history cannot be read now: {_SLOW}") from error
        except Exception as error:
            self._prepared = False  # Somebody may have taken the tables away.
            self._note_away(error)
            self._wake.set()  # It is tried until the database answers again.
            raise StoreUnavailable(
                f"the history cannot be read now: {self.unavailable_reason}"
            ) from error

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Write what is told and drop what is old while entered.

        Entering waits a moment for the database, and leaving for the last writes.
        """
        self._wake.set()
        async with background_task(self._write_all()):
            try:
                with TimeLimit(_REAL, READ_SECONDS):
                    await self._tried.wait()
            except TimeoutError:
                pass  # The console is of use without its history.
            async with background_task(self._drop_repeatedly()):
                yield
        try:
            with TimeLimit(_REAL, READ_SECONDS):
                while self._waiting and not self.unavailable_reason and await self._try():
                    pass
        except TimeoutError:
            pass
        if self._waiting:
            _log.warning("%d runs are not in the history: the process ends", len(self._waiting))

    async def _write_all(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or self.unavailable_reason:
                done = await self._try()
                self._tried.set()
                if done:
                    pause = _FIRST_PAUSE
                else:
                    await sleep(_REAL, pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def _try(self) -> bool:
        """Write some of what waits; False if the database is away. Without any, see if it is."""
        batch = [self._waiting.popleft() for _ in range(min(WRITTEN, len(self._waiting)))]
        self._bytes -= sum(map(size_of, batch))
        left = batch
        try:
            if not self._prepared:
                await prepare_tables(self._database, self._how)
                self._prepared = True
            with TimeLimit(_REAL, WRITE_SECONDS):
                async with self._database.begin() as connection:
                    await self._write(connection, batch)
            left = []
        except (StoreUnavailable, SettingsError, TimeoutError) as error:
            self._note_away(error)
            return False
        except Exception as error:  # noqa: BLE001 - one that is always refused must not block others
            left = []
            self.dropped += len(batch)
            self._prepared = False  # Somebody may have taken the tables away.
            self._note_away(error)
            return False
        finally:
            # Also those of a write that is cancelled: written twice, they are there once.
            for row in reversed(left):
                self._put(row, first=True)
            self._trim()
        self._note_back()
        return True

    async def _write(self, connection: AsyncConnection, batch: list[dict[str, Any]]) -> None:
        if not batch:
            await connection.execute(select(runs.c.key).limit(1))
            return
        # In one order, so that two consoles that write the same do not wait for each other.
        unique = {row["key"]: row for row in batch}
        rows = [unique[key] for key in sorted(unique)]
        await connection.execute(self._insert(runs).values(rows).on_conflict_do_nothing())

    def _put(self, row: dict[str, Any], *, first: bool = False) -> None:
        if first:
            self._waiting.appendleft(row)
        else:
            self._waiting.append(row)
        self._bytes += size_of(row)

    def _trim(self) -> None:
        while len(self._waiting) > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            self._bytes -= size_of(self._waiting.popleft())
            self.dropped += 1
            if not self._told:
                self._told = True
                _log.warning(
                    "runs are not in the history, because too many wait: the database is away or "
                    "slow; the console goes on without them and counts them"
                )

    def _note_away(self, error: Exception) -> None:
        expected = isinstance(error, (StoreUnavailable, SettingsError, TimeoutError))
        reason = (str(error) or _SLOW) if expected else "an error that the console's log has"
        if not self.unavailable_reason or not self._tried.is_set():
            _log.warning(
                "the history cannot be kept now, the console goes on without it: %s",
                reason,
                exc_info=None if expected else error,
            )
        self.unavailable_reason = reason

    def _note_back(self) -> None:
        if self.unavailable_reason:
            _log.info("the history is kept; %d runs were dropped so far", self.dropped)
        self.unavailable_reason = ""
        if not self._waiting:
            self._told = False

    async def _drop_repeatedly(self) -> None:
        while True:
            try:
                while not self.unavailable_reason and await self._drop() == DROPPED:
                    await sleep(_REAL, DROP_PAUSE)  # SQLite lets others write meanwhile.
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                log_failed_chore(_log, "old runs could not be dropped", error)
            await sleep(self._clock, DROP_SECONDS)

    async def _drop(self) -> int:
        """Drop some of what is too old, and return how many."""
        too_old = runs.c.started < self._clock.now() - self.keep
        old = (
            select(runs.c.key)
            .where(too_old)
            .order_by(runs.c.started)
            .limit(DROPPED)
            .with_for_update(skip_locked=True)
        )
        async with self._database.begin() as connection:
            keys = list((await connection.execute(old)).scalars())
            if keys:
                await connection.execute(delete(runs).where(runs.c.key.in_(keys), too_old))
        return len(keys)


@asynccontextmanager
async def open_run_history(
    url: str, clock: Clock, keep: float, how: StoreMigrate
) -> AsyncGenerator[RunHistory]:
    """Keep the history in the store at a URL while entered. Raises SettingsError for the URL.

    A database that cannot be used, for whatever reason, is tried again and again.
    """
    database = Database(read_store_url(url))
    try:
        history = RunHistory(database, clock, keep, how)
        async with history.running():
            yield history
    finally:
        await database.close()
