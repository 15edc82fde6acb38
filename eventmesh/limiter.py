"""How many runs of a function there are at once, in this process and in the whole mesh."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from eventmesh.abc import Handler, Slots
from eventmesh.clock import Clock, TimeLimit, wait_for
from eventmesh.errors import InvocationError, InvocationTimeout, Throttled
from eventmesh.invocation import SYNC, Invocation, Mode
from eventmesh.result import Result, when_closed

RETRY_AFTER = 1.0
"""Seconds after which a refused caller should try again: about when a place may be free."""


class Limiter:
    """Places for runs at once in this process, and two lines of those who wait for one.

    Synchronous callers wait in a line of at most `line`; beyond it they are refused. Asynchronous
    work waits in its own line, which is as long as the broker's prefetch lets it be. A place that
    becomes free goes to the two lines in turn, so that neither starves the other.
    """

    __slots__ = (
        "_asynchronous",
        "_capacity",
        "_free",
        "_line",
        "_synchronous",
        "_synchronous_next",
        "_throttled",
    )

    def __init__(self, concurrency: int, line: int) -> None:
        self._capacity = concurrency
        self._free = concurrency
        self._line = line
        self._synchronous: deque[asyncio.Future[None]] = deque()
        self._asynchronous: deque[asyncio.Future[None]] = deque()
        self._synchronous_next = False
        self._throttled = 0

    def acquire_nowait(self) -> bool:
        """Take a place if one is free. Nobody is overtaken: with a free place nobody waits."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def acquire(self, mode: Mode, clock: Clock, deadline: float | None) -> None:
        """Take a place, waiting for one until the deadline (seconds since the epoch).

        Raises Throttled when the line of synchronous callers is full and InvocationTimeout when
        the deadline passes first.
        """
        if self.acquire_nowait():
            return
        line = self._synchronous if mode is SYNC else self._asynchronous
        if mode is SYNC and len(line) >= self._line:
            self._throttled += 1
            raise Throttled(
                f"all {self._capacity} places are taken and {self._line} callers wait", RETRY_AFTER
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(place)
        delay = None if deadline is None else deadline - clock.now()
        try:
            await wait_for(clock, place, delay, "waiting for a place to run")
        except BaseException:
            if place in line:
                line.remove(place)
            elif place.done() and not place.cancelled():
                self.release()  # The place was given at the very moment the wait ended.
            raise

    def release(self) -> None:
        """Give a place back: to the next who waits, if somebody does."""
        while self._synchronous or self._asynchronous:
            place = self._next_line().popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _next_line(self) -> deque[asyncio.Future[None]]:
        self._synchronous_next = not self._synchronous_next
        if self._synchronous and (self._synchronous_next or not self._asynchronous):
            return self._synchronous
        return self._asynchronous

    def statistics(self) -> Mapping[str, int]:
        """Now: `running`, `waiting`; since the start: `throttled`."""
        return {
            "running": self._capacity - self._free,
            "waiting": len(self._synchronous) + len(self._asynchronous),
            "throttled": self._throttled,
        }


def limited(
    handler: Handler, limiter: Limiter, clock: Clock, slots: Slots | None = None
) -> Handler:
    """`handler` under the limiter, and under the mesh-wide slots where the function has some.

    The place is held until the result's stream has ended, where it has one.
    """
    under_slots = handler if slots is None else _slotted(handler, slots, clock)

    async def run(invocation: Invocation) -> Result:
        if not limiter.acquire_nowait():
            try:
                await limiter.acquire(invocation.mode, clock, invocation.deadline)
            except InvocationError as error:
                return Result(b"", error=error)
        try:
            result = await under_slots(invocation)
        except BaseException:
            limiter.release()
            raise
        return when_closed(result, limiter.release)

    return run


def _slotted(handler: Handler, slots: Slots, clock: Clock) -> Handler:
    async def run(invocation: Invocation) -> Result:
        refused = await _slot_refused(slots, clock, invocation.deadline)
        if refused is not None:
            return Result(b"", error=refused)
        try:
            result = await handler(invocation)
        except BaseException:
            slots.release()
            raise
        return when_closed(result, slots.release)

    return run


async def _slot_refused(
    slots: Slots, clock: Clock, deadline: float | None
) -> InvocationError | None:
    try:
        if deadline is None:
            await slots.acquire()
        else:
            with TimeLimit(clock, deadline - clock.now()):
                await slots.acquire()
    except TimeoutError:
        return InvocationTimeout("waited for a slot of the mesh until the deadline passed")
    except InvocationError as error:
        return error
    return None
