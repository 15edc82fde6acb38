"""Ends runs at their deadline, and starts none after it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final, NoReturn

from eventmesh.abc import Handler, Middleware
from eventmesh.aio.clock import Clock, SharedTimer
from eventmesh.model.errors import InvocationTimeout
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result, close_stream
from eventmesh.model.value import copier

_STOPPED: Final = (Exception, asyncio.CancelledError)
"""What a cancelled handler may end with; anything else that is raised stops the program."""

_with_deadline: Final = copier(Invocation, "deadline")


def enforce_deadline(clock: Clock, timeout: float | None) -> Middleware:
    """Ends a run after `timeout` seconds (None: no limit of its own) or at the caller's deadline.

    Whichever comes first is the `deadline` of the invocation that is passed on. A run that is out
    of time is cancelled, and its result is an `InvocationTimeout`, also if the handler ignores the
    cancellation and returns late. A run whose deadline has passed is not started. A result's stream
    belongs to the run: an `InvocationTimeout` ends it. A cancellation from outside is passed on.
    """

    def wrap(handler: Handler) -> Handler:
        return _enforce(handler, clock, timeout)

    return wrap


def _enforce(handler: Handler, clock: Clock, timeout: float | None) -> Handler:
    runs = _Runs(clock)
    now = clock.monotonic
    limit = math.inf if timeout is None else timeout

    async def run(invocation: Invocation) -> Result:
        started = now()
        ends = started + limit
        if invocation.deadline is not None and invocation.deadline < ends:
            ends = invocation.deadline
        if ends == math.inf:
            return await handler(invocation)
        if ends <= started:
            return Result(b"", error=_not_started_error(invocation))
        timed = _with_deadline(invocation, deadline=ends)
        watched = runs.begin(ends)
        try:
            result = await handler(timed)
        except BaseException as error:
            # Whatever the handler raised when it was out of time, it ended for that. If it was not,
            # a cancellation comes from outside.
            if runs.end(watched) and isinstance(error, _STOPPED):
                return Result(b"", error=_timeout_error(timed, started, timeout))
            raise
        if runs.end(watched):  # It ignored the cancellation, and returned late.
            return Result(b"", error=_timeout_error(timed, started, timeout))
        if result.stream is None:
            return result
        out_of_time = _timeout_error(timed, started, timeout)
        return replace(result, stream=_TimedStream(result.stream, clock, runs, ends, out_of_time))

    return run


def _not_started_error(invocation: Invocation) -> InvocationTimeout:
    return InvocationTimeout(
        f"{invocation.function} was not started: the deadline of its caller had passed"
    )


def _timeout_error(
    invocation: Invocation, started: float, timeout: float | None
) -> InvocationTimeout:
    ends = invocation.deadline or started
    if timeout is not None and ends == started + timeout:
        return InvocationTimeout(
            f"{invocation.function} was ended after its timeout of {timeout:g} s: "
            "let one run do less, or give the function a longer timeout"
        )
    return InvocationTimeout(
        f"{invocation.function} was ended after {ends - started:.3g} s, at its caller's deadline"
    )


class _TimedRun:
    """A task that runs under a deadline."""

    __slots__ = ("cancelling", "expired", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.cancelling = task.cancelling()
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.task.cancel()


class _Runs:
    """The runs of one function that have a deadline."""

    __slots__ = ("_deadlines",)

    def __init__(self, clock: Clock) -> None:
        self._deadlines = SharedTimer(clock, _TimedRun.expire)

    def begin(self, ends: float) -> _TimedRun:
        """Cancel the current task at `ends`, unless `end` is called before."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a function with a timeout runs in a task")
        run = _TimedRun(task)
        self._deadlines.add(run, ends)
        return run

    def end(self, run: _TimedRun) -> bool:
        """End a run. Returns whether it was out of time, and its task not cancelled otherwise."""
        self._deadlines.remove(run)
        return run.expired and run.task.uncancel() <= run.cancelling


class _TimedStream(AsyncIterator[bytes]):
    """A stream that raises `out_of_time` once its deadline has passed."""

    __slots__ = ("_clock", "_ends", "_out_of_time", "_runs", "_stream")

    def __init__(
        self,
        stream: AsyncIterator[bytes],
        clock: Clock,
        runs: _Runs,
        ends: float,
        out_of_time: InvocationTimeout,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._runs = runs
        self._ends = ends
        self._out_of_time = out_of_time

    async def __anext__(self) -> bytes:
        if self._ends <= self._clock.monotonic():
            await self._stop()
        run = self._runs.begin(self._ends)
        try:
            item = await anext(self._stream)
        except BaseException as error:
            if self._runs.end(run) and isinstance(error, _STOPPED):
                await self._stop()
            raise
        if self._runs.end(run):
            await self._stop()
        return item

    async def _stop(self) -> NoReturn:
        try:
            await close_stream(self._stream)
        except Exception as error:
            raise self._out_of_time from error
        raise self._out_of_time

    async def aclose(self) -> None:
        await close_stream(self._stream)
