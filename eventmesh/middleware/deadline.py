"""No run goes on after its deadline, and none is begun."""

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
from eventmesh.model.result import Result, close
from eventmesh.model.value import copier

_STOPPED: Final = (Exception, asyncio.CancelledError)
"""What a handler that is cancelled ends with; whatever else is raised stops the program."""

_with_deadline: Final = copier(Invocation, "deadline")


def deadline(clock: Clock, timeout: float | None) -> Middleware:
    """Ends a run after `timeout` seconds (None: no limit of its own) or at the caller's deadline.

    Whichever comes first is the `deadline` of the invocation that is passed on. A run that is
    out of time is cancelled, and its result is an `InvocationTimeout`, also when the handler
    does not let itself be cancelled and returns late. Work whose deadline has passed already is
    not begun. A result's stream counts: it is ended by an `InvocationTimeout`. A cancellation
    from outside stays one.
    """

    def wrap(handler: Handler) -> Handler:
        return _timed(handler, clock, timeout)

    return wrap


def _timed(handler: Handler, clock: Clock, timeout: float | None) -> Handler:
    runs = _Runs(clock)
    now = clock.now
    limit = math.inf if timeout is None else timeout

    async def run(invocation: Invocation) -> Result:
        started = now()
        ends = started + limit
        if invocation.deadline is not None and invocation.deadline < ends:
            ends = invocation.deadline
        if ends == math.inf:
            return await handler(invocation)
        if ends <= started:
            return Result(b"", error=_not_started(invocation))
        timed = _with_deadline(invocation, deadline=ends)
        watched = runs.begin(ends)
        try:
            result = await handler(timed)
        except BaseException as error:
            if runs.end(watched) and isinstance(error, _STOPPED):
                return Result(b"", error=_out_of_time(timed, started, timeout))
            raise
        if runs.end(watched):
            return Result(b"", error=_out_of_time(timed, started, timeout))
        if result.stream is None:
            return result
        out_of_time = _out_of_time(timed, started, timeout)
        return replace(result, stream=_TimedStream(result.stream, clock, runs, ends, out_of_time))

    return run


def _not_started(invocation: Invocation) -> InvocationTimeout:
    return InvocationTimeout(
        f"{invocation.function} was not started: the deadline of its caller had passed"
    )


def _out_of_time(
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


class _Run:
    """A task whose time may end."""

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
        self._deadlines = SharedTimer(clock, _Run.expire)

    def begin(self, ends: float) -> _Run:
        """Cancel the current task at `ends`, unless `end` is called before."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a function with a timeout runs in a task")
        run = _Run(task)
        self._deadlines.add(run, ends)
        return run

    def end(self, run: _Run) -> bool:
        """Whether the run was out of time, and nobody else cancelled its task as well."""
        self._deadlines.remove(run)
        return run.expired and run.task.uncancel() <= run.cancelling


class _TimedStream(AsyncIterator[bytes]):
    """A stream that raises `out_of_time` from its iteration once its time is over."""

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
        if self._ends <= self._clock.now():
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
            await close(self._stream)
        except Exception as error:
            raise self._out_of_time from error
        raise self._out_of_time

    async def aclose(self) -> None:
        await close(self._stream)
