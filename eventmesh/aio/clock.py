"""Time: the clock that everything reads, and a time limit on it.

Nothing in the package asks the operating system or the event loop for the time: it asks the
clock it was given. Tests give one that they move themselves.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar, runtime_checkable

from eventmesh.aio.cancellation import take_back

T = TypeVar("T")

_GRAIN: Final = 0.001
"""Seconds. uvloop's timers count whole milliseconds, so one may ring that much too early."""


class TimerHandle(Protocol):
    """A scheduled call that can be cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch. It may be set back and forward."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever pass, from any point on: deadlines go by them."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` in the running event loop in `delay` seconds, never from within here."""
        ...


@runtime_checkable
class WatchedClock(Clock, Protocol):
    """A clock that is told who sleeps: who moves it must not wait for those."""

    def sleeping(self, delay: float) -> AbstractContextManager[None]:
        """Know that the current task sleeps while entered."""
        ...


class SystemClock:
    """The time of the operating system and of the running event loop."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)


class TimeLimit:
    """Cancels the body of a `with` block after `delay` seconds and raises TimeoutError then.

    `asyncio.timeout` on a clock of ours, and about three times cheaper: it is entered without
    being awaited. As there, a cancellation from outside wins over the time limit, a body that
    ends with a result or another error keeps it, and no delay at all ends the body where it first
    waits. Not to be held across a `yield`: the task that goes on may be another one.
    """

    __slots__ = ("_cancelling", "_clock", "_delay", "_expired", "_task", "_timer")

    def __init__(self, clock: Clock, delay: float) -> None:
        self._clock = clock
        self._delay = delay

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a running task")
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        self._timer = self._clock.call_later(max(self._delay, 0.0), self._expire)
        return self

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if not self._expired:
            return
        if take_back(self._task, self._cancelling, kind):
            raise TimeoutError from error


class SharedTimer(Generic[T]):
    """Deadlines of many things, with one timer for all of them.

    Nearly everything ends in time, so a timer for each would be set and cancelled for nothing, at
    a cost above that of most else in an invocation. This one is set for the first deadline there
    is; when it rings, it is set for the next. If what had that one has ended, it rings for nothing.
    """

    __slots__ = ("_clock", "_ends", "_expire", "_rings_at", "_timer")

    def __init__(self, clock: Clock, expire: Callable[[T], object]) -> None:
        """`expire` is called with each item that is out of time; it must not raise."""
        self._clock = clock
        self._expire = expire
        self._ends: dict[T, float] = {}
        self._timer: TimerHandle | None = None
        self._rings_at = math.inf

    def add(self, what: T, ends: float) -> None:
        """Expire it at `ends` (on the monotonic clock), unless it is removed before."""
        self._ends[what] = ends
        if ends < self._rings_at:
            self._set_timer(ends)

    def remove(self, what: T) -> None:
        """Remove it: it has ended, or it expired."""
        self._ends.pop(what, None)

    def _set_timer(self, ends: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = ends
        self._timer = self._clock.call_later(ends - self._clock.monotonic(), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings_at = math.inf
        latest = self._clock.monotonic() + _GRAIN
        for what in [what for what, ends in self._ends.items() if ends <= latest]:
            del self._ends[what]
            self._expire(what)
        if self._ends:
            self._set_timer(min(self._ends.values()))


async def sleep(clock: Clock, delay: float) -> None:
    """Wait `delay` seconds of the clock; without a delay, yield to other tasks once."""
    over = asyncio.Event()
    timer = clock.call_later(delay, over.set)
    try:
        with clock.sleeping(delay) if isinstance(clock, WatchedClock) else nullcontext():
            await over.wait()
    finally:
        timer.cancel()
