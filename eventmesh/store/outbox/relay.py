"""Publishes what is in the outbox: one task a process, for the lanes that it holds.

A message is deleted once the broker has confirmed it. A process that dies in between publishes it
twice, with one id, by which its receiver's marks recognise it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, TimeLimit, sleep
from eventmesh.aio.interruption import Interrupted, Interruption
from eventmesh.aio.tasks import background_task
from eventmesh.engine.codecs.json import truncate_middle
from eventmesh.engine.spec import AddGauge
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    StoreUnavailable,
    Throttled,
)
from eventmesh.store.database import Database, log_failed_chore
from eventmesh.store.outbox.hints import Hints
from eventmesh.store.outbox.leases import LEASE_SECONDS, RENEW_SECONDS, Lane, Leases
from eventmesh.store.outbox.messages import StoredMessage, read_row
from eventmesh.store.outbox.queries import (
    count_pending,
    delete_published,
    drop_marks,
    next_wait,
    note_failure,
    read_due,
)
from eventmesh.store.tables import LANES

_log: Final = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""How often the outbox is read where nothing tells that a message came."""

PASS_SECONDS: Final = 60.0
"""The limit for publishing what was read at once: what is not confirmed by then is read again."""

STOP_SECONDS: Final = 2.0
"""The limit for publishing what is left, and for releasing the lanes, when the process stops."""

COUNT_SECONDS: Final = 5.0
MARKS_SECONDS: Final = 60.0
"""How often the outbox is counted, and old marks are dropped."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds before a message that was refused is published again: doubled each time."""

_MAX_ERROR: Final = 1_000


class Relay:
    """Publishes the outbox of some services, which are in one database."""

    def __init__(
        self,
        database: Database,
        services: Sequence[str],
        broker: Broker,
        clock: Clock,
        owner: str,
        *,
        alone: bool,
    ) -> None:
        """Without others (`alone`) it holds all lanes, and reads only when it is told to."""
        self._database = database
        self._services = services
        self._broker = broker
        self._clock = clock
        self._hints = Hints(database, clock, self._read)
        self._hint = False
        self._leases = None if alone else Leases(database, services, owner, clock)
        self._lanes: Collection[Lane] = [
            (service, lane) for service in services for lane in range(LANES) if alone
        ]
        self._surplus: Collection[Lane] = ()
        self._held_until = 0.0
        self._lapse = Interruption()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._published: set[int] = set()
        self._pending: Mapping[str, tuple[int, float | None]] = {}
        self._failed = 0
        self._broker_away = False
        self._reason = ""

    @property
    def place(self) -> str:
        """The URL of its database, without user and password."""
        return self._database.url.shown

    @property
    def unavailable_reason(self) -> str:
        """Why the database could not be used the last time; "" if it could."""
        return self._reason

    def wake(self) -> None:
        """Read the outbox now: something was committed in this process."""
        # Where others hold lanes, it may be theirs.
        self._hint = len(self._lanes) < len(self._services) * LANES
        self._read()

    def _read(self) -> None:
        self._idle.clear()
        self._wake.set()

    async def wait_idle(self) -> bool:
        """Wait until all that was committed is published or waits; False if it was so already."""
        if self._idle.is_set():
            return False
        await self._idle.wait()
        return True

    def gauge(self, gauge: AddGauge) -> None:
        """Show the state of the outbox in the metrics."""
        gauge("outbox_pending", "", lambda: sum(count for count, _ in self._pending.values()))
        gauge("outbox_oldest_seconds", "", self._oldest)
        gauge("outbox_failed_total", "", lambda: self._failed)

    def _oldest(self) -> float:
        times = [time for _, time in self._pending.values() if time is not None]
        return max(self._clock.now() - min(times), 0.0) if times else 0.0

    @asynccontextmanager
    async def running(self, *, chores: bool) -> AsyncGenerator[None]:
        """Publish while entered. Leaving publishes what is left, for a moment, and then stops.

        With `chores`, what is there is counted, and old marks are dropped.
        """
        try:
            async with AsyncExitStack() as tasks:
                # Left first, so that no lane is gained or lost any more.
                await tasks.enter_async_context(background_task(self._publish_all()))
                if chores:
                    await tasks.enter_async_context(background_task(self._keep_house()))
                if self._leases is not None:
                    await tasks.enter_async_context(background_task(self._hints.listen()))
                    await tasks.enter_async_context(background_task(self._keep_lanes(self._leases)))
                yield
        finally:
            await self._stop()

    async def _stop(self) -> None:
        try:
            with TimeLimit(self._clock, STOP_SECONDS):
                while self._lanes and await self._publish_some():
                    pass
                if self._leases is not None:
                    await self._leases.release(self._lanes, leave=True)
        except (StoreUnavailable, SQLAlchemyError, TimeoutError) as error:
            _log.info("the outbox is left to other processes, or to the next start: %s", error)

    async def _publish_all(self) -> None:
        while True:
            self._wake.clear()
            try:
                more = await self._publish_some()
            except StoreUnavailable as error:
                self._note_outage(str(error))
                more = False
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                _log.exception("the outbox could not be published, it is tried again")
                self._note_outage(str(error))
                more = False
            if more:
                continue
            if not self._wake.is_set():
                self._idle.set()
            await self._wait()

    async def _wait(self) -> None:
        """Wait until something is committed here, or for a time."""
        delay: float | None = POLL_SECONDS
        if self._leases is None:
            delay = POLL_SECONDS if self._reason or self._broker_away else await self._next_wait()
        try:
            if delay is None:
                await self._wake.wait()
                return
            with TimeLimit(self._clock, delay):
                await self._wake.wait()
        except TimeoutError:
            self._idle.clear()

    async def _next_wait(self) -> float | None:
        async with self._database.begin() as connection:
            time = await next_wait(connection)
        return None if time is None else max(time - self._clock.now(), 0.001)

    async def _publish_some(self) -> bool:
        """Publish the oldest messages of all lanes; False if there is nothing to do now."""
        if self._hint:
            self._hint = False
            await self._hints.send()
        if self._surplus or not self._lanes:
            await self._delete_published()  # Whoever has these lanes next would publish it again.
        if self._surplus and self._leases is not None:
            surplus, self._surplus = self._surplus, ()
            self._lanes = [lane for lane in self._lanes if lane not in surplus]
            await self._leases.release(surplus)
        if not self._lanes:
            return False
        now = self._clock.now()
        async with self._database.begin() as connection:
            if self._published:
                await delete_published(connection, self._published)
            rows = await read_due(connection, self._lanes, now)
        self._published.clear()
        self._mend()
        if not rows:
            return False
        chains: dict[tuple[str, str], list[StoredMessage]] = defaultdict(list)
        for row in rows:
            message = read_row(row, now)
            chains[message.service, message.order_key].append(message)
        outcome = _Outcome(self._published)
        await self._publish_chains(list(chains.values()), outcome)
        if outcome.unavailable is not None:
            await self._delete_published()  # Else the next pass does, which is now.
        for message, error in outcome.refused:
            await self._note_failure(message, error)
        self._note_broker(outcome.unavailable)
        return outcome.unavailable is None

    async def _publish_chains(
        self, chains: Sequence[Sequence[StoredMessage]], outcome: _Outcome
    ) -> None:
        """Publish keys beside each other, and the messages of each in their order."""
        lapse = self._lapse
        try:
            with lapse.interrupts(), TimeLimit(self._clock, PASS_SECONDS):
                async with asyncio.TaskGroup() as tasks:
                    for chain in chains:
                        tasks.create_task(self._publish_chain(chain, outcome))
        except Interrupted:
            _log.warning("the lease of the outbox is lost: another process publishes the rest")
        except TimeoutError:
            _log.warning("the broker did not confirm all within %g s", PASS_SECONDS)

    async def _publish_chain(self, chain: Sequence[StoredMessage], outcome: _Outcome) -> None:
        for stored in chain:
            if outcome.unavailable is not None:
                return
            try:
                if stored.route is None:
                    raise FunctionNotFound(stored.message.type)
                await self._broker.publish(
                    stored.route, stored.message, delay=stored.delay, give_up=False
                )
            except BrokerUnavailable as error:
                outcome.unavailable = error
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                outcome.refused.append((stored, error))
                return
            outcome.published.add(stored.id)

    async def _delete_published(self) -> None:
        if self._published:
            async with self._database.begin() as connection:
                await delete_published(connection, self._published)
            self._published.clear()

    async def _note_failure(self, stored: StoredMessage, error: Exception) -> None:
        self._failed += 1
        pause = min(FIRST_PAUSE * 2 ** min(stored.attempts, 16), LONGEST_PAUSE)
        if isinstance(error, Throttled):
            pause = max(error.retry_after, FIRST_PAUSE)
        if stored.attempts == 0:
            _log.warning(
                "%s: the message %s of the outbox cannot be published, it is tried again, and what "
                "comes after it under its key waits; 'eventmesh outbox list' shows it: %s",
                stored.service,
                stored.message.id,
                error,
            )
        async with self._database.begin() as connection:
            await note_failure(
                connection,
                stored.id,
                not_before=self._clock.now() + pause,
                error=truncate_middle(f"{type(error).__name__}: {error}", _MAX_ERROR).replace(
                    "\0", ""
                ),
            )

    def _note_broker(self, error: BrokerUnavailable | None) -> None:
        if error is not None and not self._broker_away:
            _log.warning("the outbox waits for the broker: %s", error)
        if error is None and self._broker_away:
            _log.info("the outbox is published again")
        self._broker_away = error is not None

    def _note_outage(self, reason: str) -> None:
        if not self._reason:
            _log.warning("the outbox waits for its database: %s", reason)
        self._reason = reason or "it failed"

    def _mend(self) -> None:
        if self._reason:
            _log.info("the database of the outbox can be used again")
        self._reason = ""

    async def _keep_lanes(self, leases: Leases) -> None:
        """Hold a fair part of the lanes, as long as the lease can be renewed in time."""
        while True:
            begun = self._clock.monotonic()
            left = self._held_until - begun
            try:
                with TimeLimit(self._clock, left if left > 0 else LEASE_SECONDS):
                    held, surplus = await leases.hold()
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                if not isinstance(error, (StoreUnavailable, TimeoutError)):
                    _log.warning("the lanes of the outbox could not be held", exc_info=error)
                self._note_outage(str(error) or "it does not answer in time")
                if self._clock.monotonic() >= self._held_until:
                    self._lose_lanes()
            else:
                self._mend()
                self._held_until = begun + LEASE_SECONDS
                gained = not set(held) <= set(self._lanes)
                self._lanes, self._surplus = held, surplus
                if gained or surplus:
                    self._read()
            await sleep(self._clock, RENEW_SECONDS)

    def _lose_lanes(self) -> None:
        if self._lanes:
            self._lanes = ()
            lapse, self._lapse = self._lapse, Interruption()
            lapse.happen()

    async def _keep_house(self) -> None:
        """Count what is in the outbox, and drop the marks that are too old."""
        next_drop = self._clock.monotonic()
        while True:
            try:
                async with self._database.begin() as connection:
                    self._pending = await count_pending(connection, self._lanes)
                if self._clock.monotonic() >= next_drop:
                    next_drop = self._clock.monotonic() + MARKS_SECONDS
                    while await self._drop_marks():
                        pass
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                log_failed_chore(_log, "the outbox could not be counted", error)
            await sleep(self._clock, COUNT_SECONDS)

    async def _drop_marks(self) -> bool:
        async with self._database.begin() as connection:
            return bool(await drop_marks(connection, self._clock.now()))


class _Outcome:
    """What became of the messages of one pass."""

    def __init__(self, published: set[int]) -> None:
        self.published = published
        self.refused: list[tuple[StoredMessage, Exception]] = []
        self.unavailable: BrokerUnavailable | None = None
