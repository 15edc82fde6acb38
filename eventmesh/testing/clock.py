"""A clock that a test moves."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import sleep as real_sleep  # Tests may put `TestMesh.sleep` in its place.
from collections.abc import Awaitable, Callable
from itertools import count

from eventmesh.aio.clock import TimerHandle
from eventmesh.model.duration import Duration, seconds

START = 1_767_225_600.0
"""2026-01-01 00:00:00 UTC, a Thursday: the time at which a manual clock begins by default."""

_QUIET_PASSES = 25
"""Passes of the event loop without a use of the clock, after which the loop counts as quiet."""

_MICROSECONDS = 1_000_000


class ManualClock:
    """A clock that stands still until it is moved, and then fires due timers in order.

    It counts whole microseconds, so that ten times 0.1 s are 1 s. Moving it waits for no real time:
    wait for threads and sockets before you move the clock.
    """

    def __init__(self, start: float = START) -> None:
        self._now = round(start * _MICROSECONDS)
        self._ahead = 0
        self._timers: list[_ManualTimer] = []
        self._cancelled = 0
        self._numbers = count()
        self._uses = 0

    def now(self) -> float:
        self._uses += 1
        return (self._now + self._ahead) / _MICROSECONDS

    def monotonic(self) -> float:
        self._uses += 1
        return self._now / _MICROSECONDS

    def set_time_of_day(self, ahead: float) -> None:
        """Set the time of day `ahead` seconds, back with less than 0, as an administrator does.

        No time passes, and no timer is due sooner or later for it.
        """
        self._ahead += round(ahead * _MICROSECONDS)

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` after `delay`; with no delay, in the next pass of the event loop."""
        self._uses += 1
        if delay <= 0:
            return asyncio.get_running_loop().call_soon(callback)
        due = self._now + round(delay * _MICROSECONDS)
        timer = _ManualTimer(due, next(self._numbers), callback, self._count_cancelled)
        heapq.heappush(self._timers, timer)
        return timer

    async def advance(
        self, duration: Duration, settle: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Move on by `duration` (seconds, a timedelta or a string such as "6h").

        Timers that come due fire in the order of their times, and those of one time in the order in
        which they were set. That includes timers which are set meanwhile. Before the first, after
        each and at the end `settle` is awaited; by default the event loop runs until it is quiet.
        """
        settle = settle or self.settle
        end = self._now + round(seconds(duration, "duration") * _MICROSECONDS)
        await settle()
        while (timer := self._next_until(end)) is not None:
            self._now = timer.due
            timer.fire()
            await settle()
        self._now = end
        await settle()

    async def settle(self) -> None:
        """Let the event loop run until it is quiet, without moving the clock.

        The loop is quiet after some passes without a use of the clock: running work reads the time
        or sets timers again and again.
        """
        quiet = 0
        while quiet < _QUIET_PASSES:
            uses = self._uses
            await real_sleep(0)
            quiet = quiet + 1 if uses == self._uses else 0

    def _next_until(self, end: int) -> _ManualTimer | None:
        while self._timers and self._timers[0].due <= end:
            timer = heapq.heappop(self._timers)
            if timer.pending:
                return timer
            self._cancelled -= 1
        return None

    def _count_cancelled(self) -> None:
        # Nearly all timers are limits that are cancelled long before they are due. Without this
        # they would stay until the test moves the clock.
        self._cancelled += 1
        if self._cancelled * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if timer.pending]
            heapq.heapify(self._timers)
            self._cancelled = 0


class _ManualTimer:
    __slots__ = ("_callback", "_on_cancel", "due", "number", "pending")

    def __init__(
        self, due: int, number: int, callback: Callable[[], object], on_cancel: Callable[[], None]
    ) -> None:
        self.due = due
        self.number = number
        self.pending = True
        self._callback = callback
        self._on_cancel = on_cancel

    def __lt__(self, other: _ManualTimer) -> bool:
        return (self.due, self.number) < (other.due, other.number)

    def fire(self) -> None:
        self.pending = False
        self._callback()

    def cancel(self) -> None:
        if self.pending:
            self.pending = False
            self._on_cancel()
