"""How an invocation ended, in the terms of logs, metrics and spans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Final

from eventmesh.model.errors import (
    AccessDenied,
    Cancelled,
    FunctionError,
    InvocationError,
    PartialFailure,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    Reject,
    RetryLater,
    Signal,
)
from eventmesh.model.result import Failure, Result, close_stream

SUCCESS: Final = "success"
CANCELLED: Final = "cancelled"
"""The run was stopped from outside: by a shutdown, or by a caller that disconnected."""

_SIGNALS: Final[dict[type[Signal], str]] = {
    RetryLater: "retry_later",
    Reject: "reject",
    PartialFailure: "partial_failure",
    Problem: "problem",
    Cancelled: CANCELLED,
}

Ended = Callable[[BaseException | None], None]
"""Called once with how an invocation ended: None for a success, a failure, or a cancellation."""


def find_failure(result: Result) -> Failure | None:
    """Return the failure of an invocation; a PartialFailure if some items of its batch failed."""
    if result.failures and result.error is None:
        return PartialFailure(result.failures)
    return result.error


def name_outcome(error: BaseException | None) -> str:
    """Return how it ended, in one word: "success", "cancelled", or the kind of failure.

    A fault is called by its `code`, a signal by its name: "retry_later", "reject",
    "partial_failure", "problem".
    """
    if error is None:
        return SUCCESS
    if isinstance(error, InvocationError):
        return error.code
    if isinstance(error, Exception):
        names = (name for kind, name in _SIGNALS.items() if isinstance(error, kind))
        return next(names, FunctionError.code)
    return CANCELLED


def name_error(error: BaseException) -> str:
    """Return the type of an error; of a handler's exception, the type of that exception."""
    return error.type if isinstance(error, FunctionError) else name_outcome(error)


def list_faults(error: BaseException | None) -> list[InvocationError]:
    """Return the faults in an error: itself, each failed item of a batch, or none for a signal."""
    errors = error.failures.values() if isinstance(error, PartialFailure) else (error,)
    return [fault for fault in errors if isinstance(fault, InvocationError)]


def is_client_error(error: BaseException) -> bool:
    """Whether the caller caused it, as with a 404: a problem below 500 is not a fault."""
    return isinstance(error, Problem) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR


def is_fault(error: BaseException) -> bool:
    """Whether the function failed: not its caller, and nobody cancelled it or put it off."""
    match error:
        case PartialFailure() | Reject():
            return True
        case Problem():
            return not is_client_error(error)
        case PayloadInvalid() | PayloadTooLarge() | AccessDenied():
            return False
        case _:
            return isinstance(error, InvocationError) or (
                isinstance(error, Exception) and not isinstance(error, Signal)
            )


class ObservedStream(AsyncIterator[bytes]):
    """A stream that reports once how it ended; closed before its end, it counts as cancelled.

    Its items are made within `scope`: what runs for them belongs to the invocation.
    """

    __slots__ = ("_ended", "_scope", "_stream")

    def __init__(
        self,
        stream: AsyncIterator[bytes],
        ended: Ended,
        scope: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._stream = stream
        self._ended: Ended | None = ended
        self._scope = scope

    async def __anext__(self) -> bytes:
        try:
            with self._scope():
                return await anext(self._stream)
        except StopAsyncIteration:
            self._report(None)
            raise
        except BaseException as error:
            self._report(error)
            raise

    async def aclose(self) -> None:
        try:
            with self._scope():
                await close_stream(self._stream)
        except BaseException as error:
            self._report(error)
            raise
        self._report(GeneratorExit())

    def _report(self, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(error)
