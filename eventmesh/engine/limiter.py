"""How many runs of a function there are at once, in this process and in the whole mesh."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from eventmesh.abc import Handler, Slots
from eventmesh.aio.clock import Clock, TimeLimit, wait_for
from eventmesh.model.errors import InvocationError, InvocationTimeout, Throttled
from eventmesh.model.invocation import SYNC, Invocation, Mode
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.result import Result, on_close

RETRY_AFTER = 1.0
"""Seconds after which a refused caller should try again: about when a place may be free."""


class Limiter:
    """Permits for concurrent runs in this process, and two queues of waiters.

    At most `max_pending` synchronous callers wait; the next one is refused. The broker's prefetch
    bounds the asynchronous work that waits. A free permit goes to the two queues in turn, so that
    neither starves the other.
    """

    __slots__ = (
        "_asynchronous",
        "_capacity",
        "_free",
        "_max_pending",
        "_synchronous",
        "_synchronous_next",
        "_throttled",
    )

    def __init__(self, concurrency: int, max_pending: int) -> None:
        self._capacity = concurrency
        self._free = concurrency
        self._max_pending = max_pending
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
        if mode is SYNC and len(line) >= self._max_pending:
            raise self.refusal(
                f"all {self._capacity} places are taken and {self._max_pending} callers wait"
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

    def refusal(self, why: str) -> Throttled:
        """The error of a caller who gets no place; it is counted."""
        self._throttled += 1
        return Throttled(why, RETRY_AFTER)

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


def limit_concurrency(
    handler: Handler,
    limiter: Limiter,
    clock: Clock,
    slots: Slots | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Handler:
    """`handler` under the limiter, and under the mesh-wide slots where the function has some.

    The place is held until the result's stream has ended, where it has one.

    `timeout` is the function's own, in seconds. A synchronous caller that set no deadline waits for
    as long in all (DEFAULT_TIMEOUT if it is None), and is then refused with Throttled.
    """
    waits = _Admission(limiter, clock, DEFAULT_TIMEOUT if timeout is None else timeout)
    under_slots = handler if slots is None else _slotted(handler, slots, waits)

    async def run(invocation: Invocation) -> Result:
        if not limiter.acquire_nowait():
            refused = await waits.for_place(invocation)
            if refused is not None:
                return Result(b"", error=refused)
        try:
            result = await under_slots(invocation)
        except BaseException:
            limiter.release()
            raise
        return on_close(result, limiter.release)

    return run


def _slotted(handler: Handler, slots: Slots, waits: _Admission) -> Handler:
    async def run(invocation: Invocation) -> Result:
        refused = await waits.for_slot(invocation, slots)
        if refused is not None:
            return Result(b"", error=refused)
        try:
            result = await handler(invocation)
        except BaseException:
            slots.release()
            raise
        return on_close(result, slots.release)

    return run


class _Admission:
    """How long the invocations of one function wait before they run: None is a success."""

    __slots__ = ("_clock", "_limiter", "_longest")

    def __init__(self, limiter: Limiter, clock: Clock, longest: float) -> None:
        """`longest` is for synchronous callers without a deadline, in seconds."""
        self._limiter = limiter
        self._clock = clock
        self._longest = longest

    async def for_place(self, invocation: Invocation) -> InvocationError | None:
        try:
            await self._limiter.acquire(invocation.mode, self._clock, self._until(invocation))
        except InvocationTimeout as error:
            return self._over(invocation, error)
        except InvocationError as error:
            return error
        return None

    async def for_slot(self, invocation: Invocation, slots: Slots) -> InvocationError | None:
        until = self._until(invocation)
        try:
            if until is None:
                await slots.acquire()
            else:
                with TimeLimit(self._clock, until - self._clock.now()):
                    await slots.acquire()
        except TimeoutError:
            waited = "waited for a slot of the mesh until the deadline passed"
            return self._over(invocation, InvocationTimeout(waited))
        except InvocationError as error:
            return error
        return None

    def _until(self, invocation: Invocation) -> float | None:
        if invocation.deadline is None and invocation.mode is SYNC:
            return invocation.created + self._longest
        return invocation.deadline

    def _over(self, invocation: Invocation, timeout: InvocationTimeout) -> InvocationError:
        if invocation.deadline is not None:
            return timeout
        return self._limiter.refusal(f"no place to run was free within {self._longest:g} s")
