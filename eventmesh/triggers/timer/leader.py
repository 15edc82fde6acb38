"""Fires the timers of services, from one replica at a time.

Of all replicas of a service one holds the service's lease and fires its timers: each firing is an
asynchronous message to the function's inbox. The lease's state says up to which moment each timer
has been dealt with, and which are paused. It is saved after the messages are stored: if the leader
dies in between, the next one fires the same moments again, under the same ids. A pause is answered
once it is saved, so that it holds whoever leads next.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Final, NoReturn

from eventmesh.abc import Lease
from eventmesh.aio.clock import TimeLimit, sleep
from eventmesh.aio.tasks import task_group
from eventmesh.engine.spec import SourceContext
from eventmesh.engine.timers.access import MAX_TOLD, TimerReport
from eventmesh.engine.timers.messages import Answer, Request
from eventmesh.model.errors import BrokerUnavailable, InvocationError
from eventmesh.model.retry import Retry
from eventmesh.model.topology import lease_name, to_function
from eventmesh.triggers.timer.book import TimerBook
from eventmesh.triggers.timer.orders import MAX_ORDERS, Orders, take_orders
from eventmesh.triggers.timer.schedules import (
    DAY,
    MAX_CATCH_UP,
    MINUTE,
    SECOND,
    Microseconds,
    compute_due,
    to_datetime,
)
from eventmesh.triggers.timer.state import Timer, dump_marks, load_marks

MAX_CONCURRENT_FIRINGS: Final = 100
"""Timers whose messages are published at the same time."""

MAX_SAVE_RATE: Final = 1_000_000
"""Bytes a second that saving the state of one service may send to the broker."""

_DONE: Final = {"run": "fired as ordered", "pause": "paused", "resume": "resumed"}

_BACKOFF: Final = Retry(initial=0.5, maximum=30.0)

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def run_leaders(
    services: Mapping[str, Sequence[Timer]], context: SourceContext
) -> AsyncGenerator[None]:
    """Fire the timers of these services while entered, whenever this process holds their lease.

    Leaving lets publishing that has begun finish, and returns the leases.
    """
    leaders = [TimerLeader(service, timers, context) for service, timers in services.items()]
    async with task_group() as tasks:
        for leader in leaders:
            tasks.create_task(leader.run())
        try:
            yield
        finally:
            for leader in leaders:
                leader.stop()


class TimerLeader:
    """Fires the timers of one service while this process holds the service's lease."""

    def __init__(self, service: str, timers: Sequence[Timer], context: SourceContext) -> None:
        self._service = service
        self._book = TimerBook(timers)
        self._context = context
        self._broker = context.broker
        self._clock = context.clock
        self._interruptible = InterruptibleWait()
        self._started = self._now()
        self._unsaved = False
        self._save_at: Microseconds = 0
        self._saved: Microseconds = 0
        self._failed_firings = Counter[str]()
        self._lost_leases = 0

    def stop(self) -> None:
        """Make `run` end as soon as the work that it has begun is finished."""
        self._interruptible.interrupt()

    async def run(self) -> NoReturn:
        """Wait for the lease and hold it for as long as possible, again and again."""
        while True:
            try:
                await self._hold_lease()
            except BrokerUnavailable as error:
                self._lost_leases += 1
                delay = _BACKOFF.delay(self._lost_leases)
                # Another process takes over: the broker's adapter warns if it is lost to all.
                _log.info(
                    "the timers of %s are not fired by this process; next try in %.1f s: %s",
                    self._service,
                    delay,
                    error,
                )
            with self._interruptible:
                await sleep(self._clock, delay)

    async def _hold_lease(self) -> NoReturn:
        async with AsyncExitStack() as stack:
            with self._interruptible:
                lease = await stack.enter_async_context(
                    self._broker.lease(lease_name(self._service))
                )
            _log.info("the timers of %s are fired by this process", self._service)
            await self._resume(lease)
            orders = await stack.enter_async_context(take_orders(self._service, self._context))
            try:
                await self._run_timers(lease, orders)
            finally:
                await self._save_last(lease)

    async def _resume(self, lease: Lease) -> None:
        """Continue where the last leader was, or where this process was if that is further."""
        now = self._now()
        book = self._book
        book.load(load_marks(lease.state), now)
        for number, timer in enumerate(book.timers.values()):
            # A leader of an older version does not know the timers that are new in this one: they
            # are there since this process waits for the lease, and miss nothing from then on.
            book.positions.setdefault(timer.key, timer.initial_position(self._started))
            book.schedule_next(timer)
            if number % MAX_CONCURRENT_FIRINGS == 0:
                await sleep(self._clock, 0)  # The arithmetic for thousands of timers takes a while.
        self._warn_of_future(now)
        await self._save(lease)

    async def _run_timers(self, lease: Lease, orders: Orders) -> NoReturn:
        while True:
            with self._interruptible:
                await self._wait(orders)
            await self._obey(lease, orders)
            await self._fire_due()
            if self._book.paused and self._now() - self._saved > DAY:
                self._unsaved = True
            if self._unsaved and self._now() >= self._save_at:
                await self._save(lease)
            self._lost_leases = 0

    async def _wait(self, orders: Orders) -> None:
        """Wait until a timer is due, the state is to be saved or an order comes.

        Or for a part of that time.
        """
        now = self._now()
        due = self._book.next_due
        until = now + DAY if due is None else due
        if self._unsaved:
            until = min(until, self._save_at)
        if until > now:
            # Clocks are set and machines are suspended meanwhile: so this reads the time on the
            # way, the more often the nearer the moment is.
            remaining = until - now
            seconds = min(remaining, max(remaining // 8, MINUTE)) / SECOND
            with suppress(TimeoutError), TimeLimit(self._clock, seconds):
                await orders.came.wait()

    async def _obey(self, lease: Lease, orders: Orders) -> None:
        """Do what was ordered, and answer. Raises BrokerUnavailable once the lease is lost."""
        for _ in range(MAX_ORDERS):  # What is due does not wait for ever more orders.
            order = orders.take()
            if order is None:
                return
            message, asked = order
            try:
                orders.answer(message, await self._carry_out(lease, asked))
            except InvocationError as error:
                orders.refuse(message, error)
                if isinstance(error, BrokerUnavailable):
                    raise

    async def _carry_out(self, lease: Lease, asked: Request) -> Answer:
        """Do what was ordered. Raises FunctionNotFound, PayloadInvalid and BrokerUnavailable."""
        book, now = self._book, self._now()
        chosen = book.choose(asked)
        for timer in chosen:
            if asked.verb == "run":
                message = timer.build_extra_message(now)
                await self._broker.publish(to_function(timer.function), message)
                book.note_fired(timer, now)
            elif asked.verb == "pause":
                book.pause(timer, now)
            elif asked.verb == "resume":
                book.resume(timer, now)
        if asked.verb != "list":
            await self._save(lease)
            _log.info("%s: %s", ", ".join(timer.key for timer in chosen), _DONE[asked.verb])
        told: list[TimerReport] = []
        for number, timer in enumerate(chosen[:MAX_TOLD]):
            told.append(book.report(timer, now))
            if number % MAX_CONCURRENT_FIRINGS == 0:
                await sleep(self._clock, 0)
        return Answer(timers=told, skipped=len(chosen) - len(told))

    async def _fire_due(self) -> None:
        """Fire what is due now, or the first part of it. Raises BrokerUnavailable."""
        now = self._now()
        timers = self._book.pop_due(now, MAX_CONCURRENT_FIRINGS)
        if not timers:
            return
        self._unsaved = True
        # Failures are returned: raised, the first one would cancel the other firings half-way.
        async with asyncio.TaskGroup() as tasks:
            firings = [tasks.create_task(self._fire(timer, now)) for timer in timers]
        for firing in firings:
            failure = firing.result()
            if failure is not None:
                raise failure

    async def _fire(self, timer: Timer, now: Microseconds) -> BrokerUnavailable | None:
        """Fire a timer for all its moments that are due, in order.

        A moment whose message the broker refuses is due again later.
        """
        due = compute_due(timer.schedule, self._book.positions[timer.key], now, timer.catch_up)
        if due.dropped:
            _log_dropped(timer)
        try:
            for moment in due.moments:
                if self._interruptible.interrupted:
                    return None
                await self._publish(timer, moment)
                self._book.positions[timer.key] = moment
                self._book.note_fired(timer, moment)
        except BrokerUnavailable as error:
            return error
        except InvocationError as error:
            self._failed_firings[timer.key] += 1
            delay = _BACKOFF.delay(self._failed_firings[timer.key])
            _log.warning("%s: not fired, next try in %.1f s: %s", timer.key, delay, error)
            self._book.schedule(timer, now + round(delay * SECOND))
            return None
        self._failed_firings.pop(timer.key, None)
        self._book.positions[timer.key] = now
        self._book.schedule(timer, due.following)
        return None

    async def _publish(self, timer: Timer, moment: Microseconds) -> None:
        now = self._now()
        message = timer.build_message(moment, now)
        delay = message.timestamp - now / SECOND
        await self._broker.publish(to_function(timer.function), message, delay=delay)

    async def _save(self, lease: Lease) -> None:
        now = self._now()
        state = dump_marks(self._book.dump(now))
        await lease.save(state)
        self._unsaved = False
        self._saved = now
        self._save_at = self._now() + len(state) * SECOND // MAX_SAVE_RATE

    async def _save_last(self, lease: Lease) -> None:
        if not self._unsaved:
            return
        try:
            await self._save(lease)
        except BrokerUnavailable as error:
            _log.info(
                "the timers of %s: the last firings could not be saved; the next leader fires them "
                "again, under the same ids: %s",
                self._service,
                error,
            )

    def _warn_of_future(self, now: Microseconds) -> None:
        latest = max(self._book.positions[key] for key in self._book.timers)
        if latest > now + MINUTE:
            _log.warning(
                "timers of %s have fired up to %s, which is in the future, and do not fire until "
                "then: if a clock was wrong, stop the service and delete the queue %s",
                self._service,
                to_datetime(latest).isoformat(),
                lease_name(self._service),
            )

    def _now(self) -> Microseconds:
        return round(self._clock.now() * SECOND)


class InterruptibleWait:
    """Marks, as a `with` block, where a task only waits: it can be interrupted there alone."""

    __slots__ = ("_waiting", "interrupted")

    def __init__(self) -> None:
        self.interrupted = False
        self._waiting: asyncio.Task[object] | None = None

    def interrupt(self) -> None:
        """Cancel the task now if it is in such a block, or else when it enters the next one."""
        self.interrupted = True
        if self._waiting is not None:
            self._waiting.cancel()

    def __enter__(self) -> None:
        if self.interrupted:
            raise asyncio.CancelledError
        self._waiting = asyncio.current_task()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waiting = None


def _log_dropped(timer: Timer) -> None:
    if timer.catch_up == "all":
        _log.warning(
            "%s: more than %d moments were missed; the latest fire, the others do not",
            timer.key,
            MAX_CATCH_UP,
        )
    else:
        _log.info("%s: moments were missed and do not fire (%s)", timer.key, timer.catch_up)
