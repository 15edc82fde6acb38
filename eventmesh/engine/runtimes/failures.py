"""What a handler raised, as the error of its result."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

from eventmesh.abc import Handler
from eventmesh.engine.codecs.json import function_error
from eventmesh.model.errors import Signal, StoreUnavailable
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import HANDLER_ERRORS, Failure, Result

_PACKAGE: Final = f"{__name__.rpartition('.')[0]}."
_THREADS: Final = "concurrent.futures.thread"


def failure_from(error: BaseException) -> Failure:
    """Make the error of a result from what a handler raised.

    A cancellation from outside is raised; one that the handler caused itself, for example by
    awaiting something that was cancelled, is a failure like any other.
    """
    if isinstance(error, (Signal, StoreUnavailable)):
        return error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
    return function_error(error.with_traceback(_skip_runtime(error.__traceback__)))


def errors_as_results(handler: Handler) -> Handler:
    """Turn what a service's own middleware raises into results, as of what a handler raises."""

    async def run(invocation: Invocation) -> Result:
        try:
            return await handler(invocation)
        except HANDLER_ERRORS as error:
            return Result(b"", error=failure_from(error))

    return run


def _skip_runtime(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the handler on: the frames before it do not help its author."""
    inner = traceback
    while inner is not None and _is_runtime(str(inner.tb_frame.f_globals.get("__name__"))):
        inner = inner.tb_next
    return inner or traceback


def _is_runtime(module: str) -> bool:
    return module.startswith(_PACKAGE) or module == _THREADS
