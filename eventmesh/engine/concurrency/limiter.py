"""Limits how many runs of a function there are at once, in this process and in the mesh."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from eventmesh.abc import Handler, Slots
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.aio.interruption import Interrupted, Interruption
from eventmesh.aio.waiters import WaitQueue
from eventmesh.model.duration import format_seconds
from eventmesh.model.errors import InvocationError, InvocationTimeout, NotBegun, Throttled
from eventmesh.model.invocation import ASYNC, SYNC, Invocation, Mode
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.result import Failure, Result, on_close

THROTTLED_RETRY_SECONDS = 1.0
"""Seconds after which a refused caller should try again: about when a permit may be free."""


class Limiter:
    """Permits for concurrent runs in this process, and two queues that wait for them.

    At most `max_pending` synchronous callers wait; the next one is refused. The broker's prefetch
    bounds the asynchronous work that waits. A free permit goes to the two queues in turn, so that
    neither starves the other.
    """

    __slots__ = (
        "_asynchronous",
        "_concurrency",
        "_free",
        "_max_pending",
        "_stopping",
        "_synchronous",
        "_synchronous_next",
        "_throttled",
        "_without_slot",
    )

    def __init__(self, concurrency: int, max_pending: int) -> None:
        self._concurrency = concurrency
        self._free = concurrency
        self._max_pending = max_pending
        self._synchronous = WaitQueue()
        self._asynchronous = WaitQueue()
        self._synchronous_next = False
        self._throttled = 0
        self._without_slot = 0
        self._stopping = Interruption()

    def acquire_nowait(self) -> bool:
        """Take a permit if one is free. No task is overtaken: while a permit is free none waits."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def acquire(self, mode: Mode, clock: Clock, deadline: float | None) -> None:
        """Take a permit, waiting for one until the deadline (on the monotonic clock).

        Raises Throttled if the queue of synchronous callers is full, and InvocationTimeout when
        the deadline passes first.
        """
        if self.acquire_nowait():
            return
        queue = self._synchronous if mode is SYNC else self._asynchronous
        if mode is SYNC and len(queue) >= self._max_pending:
            raise self.throttled(
                f"all {self._concurrency} permits are in use and {self._max_pending} callers wait"
            )
        if deadline is None:
            await queue.wait(self.release)
            return
        delay = deadline - clock.monotonic()
        try:
            with TimeLimit(clock, delay):
                await queue.wait(self.release)
        except TimeoutError:
            raise InvocationTimeout(
                f"waiting for a permit to run took longer than {format_seconds(max(delay, 0.0))}"
            ) from None

    async def acquire_slot(self, slots: Slots) -> None:
        """Take a mesh-wide slot for the holder of a permit, which counts as waiting meanwhile."""
        self._without_slot += 1
        try:
            await slots.acquire()
        finally:
            self._without_slot -= 1

    def hand_back(self) -> None:
        """Have deliveries that wait for a permit or a slot requeued, and all that come to wait."""
        self._stopping.happen()

    @property
    def stopping(self) -> Interruption:
        """What `hand_back` makes happen."""
        return self._stopping

    def throttled(self, reason: str) -> Throttled:
        """Return the error for a caller that gets no permit, and count it."""
        self._throttled += 1
        return Throttled(reason, THROTTLED_RETRY_SECONDS)

    def release(self) -> None:
        """Return a permit: it goes to the next task that waits, if one does."""
        if self._free == 0:  # Above, none waits. Below, it is one that `keep` has taken already.
            while self._synchronous or self._asynchronous:
                if self._next_queue().wake_oldest():
                    return
        self._free += 1

    def keep(self) -> None:
        """Have the run that is about to release its permit keep it until another `release`."""
        self._free -= 1

    def _next_queue(self) -> WaitQueue:
        self._synchronous_next = not self._synchronous_next
        if self._synchronous and (self._synchronous_next or not self._asynchronous):
            return self._synchronous
        return self._asynchronous

    def statistics(self) -> Mapping[str, int]:
        """Return how many are `running` and `waiting` now, and were `throttled` so far.

        Who has a permit and waits for a mesh-wide slot is waiting.
        """
        waiting = len(self._synchronous) + len(self._asynchronous)
        return {
            "running": self._concurrency - self._free - self._without_slot,
            "waiting": waiting + self._without_slot,
            "throttled": self._throttled,
        }


class HeldSlots:
    """The mesh-wide slots of one function, which a run may keep when it is over for its caller."""

    __slots__ = ("_kept", "_slots", "acquire")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._kept = 0
        self.acquire = slots.acquire

    def release(self) -> None:
        """Return a slot, unless one is kept that was not returned."""
        if self._kept:
            self._kept -= 1
        else:
            self._slots.release()

    def keep(self) -> None:
        """Have the run that is about to release its slot keep it until another `release`."""
        self._kept += 1


def limit_concurrency(
    handler: Handler,
    limiter: Limiter,
    clock: Clock,
    slots: Slots | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Handler:
    """Wrap `handler` in the limiter, and in the mesh-wide slots if the function has any.

    The permit is held until the result's stream has ended, if it has one.

    `timeout` is the function's own, in seconds. A synchronous caller that set no deadline waits for
    as long in all (DEFAULT_TIMEOUT if it is None), and is then refused with Throttled.
    """
    admission = _Admission(limiter, clock, DEFAULT_TIMEOUT if timeout is None else timeout)
    if slots is not None:
        return _limit_by_slots(handler, limiter, slots, admission)

    async def run(invocation: Invocation) -> Result:
        if not limiter.acquire_nowait():
            refused = await admission.wait_for_permit(invocation, admission.ends(invocation))
            if refused is not None:
                return Result(b"", error=refused)
        try:
            result = await handler(invocation)
        except BaseException:
            limiter.release()
            raise
        return on_close(result, limiter.release)

    return run


def _limit_by_slots(
    handler: Handler, limiter: Limiter, slots: Slots, admission: _Admission
) -> Handler:
    def release() -> None:
        slots.release()
        limiter.release()

    async def run(invocation: Invocation) -> Result:
        ends = admission.ends(invocation)
        if not limiter.acquire_nowait():
            refused = await admission.wait_for_permit(invocation, ends)
            if refused is not None:
                return Result(b"", error=refused)
        try:
            refused = await admission.wait_for_slot(invocation, slots, ends)
        except BaseException:
            limiter.release()
            raise
        if refused is not None:
            limiter.release()
            return Result(b"", error=refused)
        try:
            result = await handler(invocation)
        except BaseException:
            release()
            raise
        return on_close(result, release)

    return run


class _Admission:
    """The waits of one function's invocations before they run; each returns an error, or None."""

    __slots__ = ("_clock", "_limiter", "_max_wait")

    def __init__(self, limiter: Limiter, clock: Clock, max_wait: float) -> None:
        """`max_wait` is for synchronous callers without a deadline, in seconds."""
        self._limiter = limiter
        self._clock = clock
        self._max_wait = max_wait

    def ends(self, invocation: Invocation) -> float | None:
        """Return until when it waits, on the monotonic clock; None for as long as it takes."""
        if invocation.deadline is None and invocation.mode is SYNC:
            return self._clock.monotonic() + self._max_wait
        return invocation.deadline

    async def wait_for_permit(self, invocation: Invocation, ends: float | None) -> Failure | None:
        acquire = self._limiter.acquire(invocation.mode, self._clock, ends)
        try:
            await self._wait(invocation, acquire)
        except InvocationTimeout as error:
            return self._timeout_error(invocation, error)
        except (InvocationError, NotBegun) as error:
            return error
        return _drop_stale(invocation, self._limiter.release)

    async def wait_for_slot(
        self, invocation: Invocation, slots: Slots, ends: float | None
    ) -> Failure | None:
        acquire = self._limiter.acquire_slot(slots)
        try:
            if ends is None:
                await self._wait(invocation, acquire)
            else:
                with TimeLimit(self._clock, ends - self._clock.monotonic()):
                    await self._wait(invocation, acquire)
        except TimeoutError:
            waited = "waited for a mesh-wide slot until the deadline passed"
            return self._timeout_error(invocation, InvocationTimeout(waited))
        except (InvocationError, NotBegun) as error:
            return error
        return _drop_stale(invocation, slots.release)

    async def _wait(self, invocation: Invocation, acquire: Coroutine[Any, Any, None]) -> None:
        """Wait; a delivery does so until the process stops. Raises NotBegun then."""
        if invocation.delivery is None or invocation.mode != ASYNC:
            await acquire
            return
        try:
            with self._limiter.stopping.interrupts():
                await acquire
        except Interrupted:
            acquire.close()  # It was not awaited if the process had stopped before.
            raise NotBegun from None

    def _timeout_error(self, invocation: Invocation, timeout: InvocationTimeout) -> InvocationError:
        if invocation.deadline is not None:
            return timeout
        return self._limiter.throttled(f"no permit to run was free within {self._max_wait:g} s")


def _drop_stale(invocation: Invocation, release: Callable[[], None]) -> NotBegun | None:
    """Give up what was waited for, if the broker delivers the message again: it runs there."""
    if invocation.delivery is None or not invocation.delivery.stale:
        return None
    release()
    return NotBegun()
