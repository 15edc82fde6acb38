"""Notes which asynchronous invocations run, and ends those that are cancelled by their id."""

from __future__ import annotations

import asyncio
from typing import Any

from eventmesh.abc import Handler, Middleware
from eventmesh.engine.results import Results
from eventmesh.model.errors import Cancelled
from eventmesh.model.invocation import ASYNC, Invocation
from eventmesh.model.result import Result


def record_runs(results: Results) -> Middleware:
    """Note when an asynchronous invocation begins to run, unless it is cancelled; then end it."""

    def wrap(handler: Handler) -> Handler:
        async def run(invocation: Invocation) -> Result:
            if invocation.mode != ASYNC or invocation.batch is not None:
                return await handler(invocation)
            name, id = invocation.function, invocation.id
            if not await results.begin(name, id, invocation.attempt, invocation.created):
                return Result(b"", error=Cancelled())
            return await _run(handler, invocation, results)

        return run

    return wrap


async def _run(handler: Handler, invocation: Invocation, results: Results) -> Result:
    run = _Run(asyncio.current_task())
    with results.watch(invocation.function, invocation.id, run.cancel):
        try:
            result = await handler(invocation)
        except asyncio.CancelledError:
            if run.end():
                return Result(b"", error=Cancelled())
            raise
    # What ended all the same has its own result, unless that is what came of the cancellation.
    if run.end() and result.error is not None:
        return Result(b"", error=Cancelled())
    return result


class _Run:
    """A run that may be cancelled from outside, in a task that goes on."""

    __slots__ = ("_cancelled", "_cancelling", "_task")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        if task is None:
            raise RuntimeError("a run that may be cancelled runs in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._cancelled = False

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    def end(self) -> bool:
        """Return whether it was cancelled here, and not also otherwise."""
        cancelled, self._cancelled = self._cancelled, False
        return cancelled and self._task.uncancel() <= self._cancelling
