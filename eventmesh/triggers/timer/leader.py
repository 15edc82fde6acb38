"""Firing the timers of services.

Of all replicas of a service one holds the service's lease and fires its timers: each firing is an
asynchronous message to the function's inbox. The lease's state says up to where each timer has been
dealt with. It is saved after the messages are stored: whoever takes over from a holder that died in
between fires the same moments again, under the same ids.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, NoReturn

from eventmesh.abc import Lease
from eventmesh.aio.clock import sleep
from eventmesh.aio.tasks import task_group
from eventmesh.engine.function import SourceContext
from eventmesh.model.errors import BrokerUnavailable, InvocationError
from eventmesh.model.retry import Retry
from eventmesh.model.topology import lease as lease_name
from eventmesh.model.topology import to_function
from eventmesh.triggers.timer.schedules import (
    DAY,
    MAX_CATCH_UP,
    MINUTE,
    SECOND,
    Microseconds,
    datetime_of,
    due,
)
from eventmesh.triggers.timer.state import Timer, merge_positions, positions_from, state_from

FIRED_TOGETHER: Final = 100
"""Timers whose messages are on their way to the broker at once."""

SAVE_RATE: Final = 1_000_000
"""Bytes a second that the saving of one service's state takes of the broker at the most."""

_BACKOFF: Final = Retry(initial=0.5, maximum=30.0)

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def run_leaders(
    services: Mapping[str, Sequence[Timer]], runtime: SourceContext
) -> AsyncGenerator[None]:
    """Fire the timers of these services while entered, each service's while its lease is ours.

    Leaving lets the publishing that is under way finish, and gives the leases back.
    """
    keepers = [TimerLeader(service, timers, runtime) for service, timers in services.items()]
    async with task_group() as tasks:
        for keeper in keepers:
            tasks.create_task(keeper.run())
        try:
            yield
        finally:
            for keeper in keepers:
                keeper.leave()


class TimerLeader:
    """Fires the timers of one service while it holds the service's lease."""

    def __init__(self, service: str, timers: Sequence[Timer], runtime: SourceContext) -> None:
        self._service = service
        self._timers = {timer.key: timer for timer in timers}
        self._broker = runtime.broker
        self._clock = runtime.clock
        self._leaving = Leaving()
        self._positions: dict[str, Microseconds] = {}
        # A heap: when there is something to do, and for which timer.
        self._agenda: list[tuple[Microseconds, str]] = []
        self._unsaved = False
        self._save_at: Microseconds = 0
        self._refusals = Counter[str]()
        self._losses = 0

    def leave(self) -> None:
        """Make `run` end as soon as what it has begun is finished."""
        self._leaving.request()

    async def run(self) -> NoReturn:
        """Wait for the lease and hold it for as long as that goes, again and again."""
        while True:
            try:
                await self._hold()
            except BrokerUnavailable as error:
                self._losses += 1
                delay = _BACKOFF.delay(self._losses)
                _log.warning(
                    "the timers of %s are not fired by this process; next try in %.1f s: %s",
                    self._service,
                    delay,
                    error,
                )
            with self._leaving:
                await sleep(self._clock, delay)

    async def _hold(self) -> NoReturn:
        async with AsyncExitStack() as stack:
            with self._leaving:
                lease = await stack.enter_async_context(
                    self._broker.lease(lease_name(self._service))
                )
            _log.info("the timers of %s are fired by this process", self._service)
            await self._take_over(lease)
            try:
                await self._keep(lease)
            finally:
                await self._save_last(lease)

    async def _take_over(self, lease: Lease) -> None:
        """Go on where the last holder was, or where this process was if that is further."""
        now = self._now()
        stored = positions_from(lease.state)
        self._positions = merge_positions(self._positions, stored, self._timers.keys(), now)
        self._agenda = []
        for number, timer in enumerate(self._timers.values()):
            position = self._positions.setdefault(timer.key, timer.first_position(now))
            self._note(timer, next(timer.schedule.after(position), None))
            if number % FIRED_TOGETHER == 0:
                await sleep(self._clock, 0)  # The arithmetic of thousands takes a while.
        self._warn_of_future(now)
        await self._save(lease)

    async def _keep(self, lease: Lease) -> NoReturn:
        while True:
            with self._leaving:
                await self._wait()
            await self._fire_due()
            if self._unsaved and self._now() >= self._save_at:
                await self._save(lease)
            self._losses = 0

    async def _wait(self) -> None:
        """Wait until there is something to fire or to save, or for a part of that time."""
        now = self._now()
        until = self._agenda[0][0] if self._agenda else now + DAY
        if self._unsaved:
            until = min(until, self._save_at)
        if until > now:
            # Clocks are set and machines are suspended while this waits: so it looks at the time
            # on the way, the more often the nearer the moment is.
            remaining = until - now
            await sleep(self._clock, min(remaining, max(remaining // 8, MINUTE)) / SECOND)

    async def _fire_due(self) -> None:
        """Fire what is due now, or the first part of it. Raises BrokerUnavailable."""
        now = self._now()
        timers: list[Timer] = []
        while self._agenda and self._agenda[0][0] <= now and len(timers) < FIRED_TOGETHER:
            timers.append(self._timers[heapq.heappop(self._agenda)[1]])
        if not timers:
            return
        self._unsaved = True
        # Failures come back as values: raised, the first would cancel the others half-way.
        async with asyncio.TaskGroup() as tasks:
            firings = [tasks.create_task(self._fire(timer, now)) for timer in timers]
        for firing in firings:
            failure = firing.result()
            if failure is not None:
                raise failure

    async def _fire(self, timer: Timer, now: Microseconds) -> BrokerUnavailable | None:
        """Fire a timer for what is due of it, in order; what is refused is due again later."""
        task = due(timer.schedule, self._positions[timer.key], now, timer.catch_up)
        if task.dropped:
            _say_dropped(timer)
        try:
            for moment in task.moments:
                if self._leaving.requested:
                    return None
                await self._publish(timer, moment)
                self._positions[timer.key] = moment
        except BrokerUnavailable as error:
            return error
        except InvocationError as error:
            self._refusals[timer.key] += 1
            delay = _BACKOFF.delay(self._refusals[timer.key])
            _log.warning("%s: not fired, tried again in %.1f s: %s", timer.key, delay, error)
            self._note(timer, now + round(delay * SECOND))
            return None
        self._refusals.pop(timer.key, None)
        self._positions[timer.key] = now
        self._note(timer, task.following)
        return None

    async def _publish(self, timer: Timer, moment: Microseconds) -> None:
        now = self._now()
        firing = timer.firing(moment, now)
        delay = firing.timestamp - now / SECOND
        await self._broker.publish(to_function(timer.function), firing, delay=delay)

    def _note(self, timer: Timer, moment: Microseconds | None) -> None:
        if moment is not None:
            heapq.heappush(self._agenda, (moment, timer.key))

    async def _save(self, lease: Lease) -> None:
        state = state_from(self._positions)
        await lease.save(state)
        self._unsaved = False
        self._save_at = self._now() + len(state) * SECOND // SAVE_RATE

    async def _save_last(self, lease: Lease) -> None:
        if not self._unsaved:
            return
        try:
            await self._save(lease)
        except BrokerUnavailable as error:
            _log.warning(
                "the timers of %s: what was fired last could not be noted, and the next process "
                "fires it again, under the same ids: %s",
                self._service,
                error,
            )

    def _warn_of_future(self, now: Microseconds) -> None:
        latest = max(self._positions[key] for key in self._timers)
        if latest > now + MINUTE:
            _log.warning(
                "timers of %s have fired up to %s, which is yet to come, and rest until then: if "
                "a clock was wrong, stop the service and delete the queue %s",
                self._service,
                datetime_of(latest).isoformat(),
                lease_name(self._service),
            )

    def _now(self) -> Microseconds:
        return round(self._clock.now() * SECOND)


class Leaving:
    """Ends a task where it only waits, inside a `with` block of this: nowhere else."""

    __slots__ = ("_waiting", "requested")

    def __init__(self) -> None:
        self.requested = False
        self._waiting: asyncio.Task[object] | None = None

    def request(self) -> None:
        """Cancel the task now if it waits, or else when it is about to."""
        self.requested = True
        if self._waiting is not None:
            self._waiting.cancel()

    def __enter__(self) -> None:
        if self.requested:
            raise asyncio.CancelledError
        self._waiting = asyncio.current_task()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waiting = None


def _say_dropped(timer: Timer) -> None:
    if timer.catch_up == "all":
        _log.warning(
            "%s: more than %d moments were missed; the latest fire, the others do not",
            timer.key,
            MAX_CATCH_UP,
        )
    else:
        _log.info("%s: moments were missed and do not fire (%s)", timer.key, timer.catch_up)
