"""How an invocation ended, as logs, metrics and spans tell it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Final

from eventmesh.model.errors import (
    FunctionError,
    InvocationError,
    PartialFailure,
    Problem,
    Reject,
    RetryLater,
    Signal,
)
from eventmesh.model.result import Failure, Result, close

SUCCESS: Final = "success"
CANCELLED: Final = "cancelled"
"""The run was stopped from outside: at a shutdown, or by a caller that went away."""

_SIGNALS: Final[dict[type[Signal], str]] = {
    RetryLater: "retry_later",
    Reject: "reject",
    PartialFailure: "partial_failure",
    Problem: "problem",
}

Ended = Callable[[BaseException | None], None]
"""Told once how an invocation ended: with nothing, a failure, or a cancellation."""


def failure_of(result: Result) -> Failure | None:
    """Why the invocation failed; a PartialFailure where some items of its batch did."""
    if result.failures and result.error is None:
        return PartialFailure(result.failures)
    return result.error


def outcome_of(error: BaseException | None) -> str:
    """How it ended, in a word: "success", "cancelled", or the kind of failure.

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


def error_type(error: BaseException) -> str:
    """What went wrong, more closely: the type of the exception where a handler raised one."""
    return error.type if isinstance(error, FunctionError) else outcome_of(error)


def faults_in(error: BaseException | None) -> list[InvocationError]:
    """The faults it consists of: itself, each failed item of a batch, or none for a signal."""
    errors = error.failures.values() if isinstance(error, PartialFailure) else (error,)
    return [fault for fault in errors if isinstance(fault, InvocationError)]


def is_answer(error: BaseException) -> bool:
    """Whether it is a refusal that the caller brought upon itself, such as a 404, and no fault."""
    return isinstance(error, Problem) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR


class ObservedStream(AsyncIterator[bytes]):
    """A stream that tells once how it ended; one that is closed before its end was cancelled.

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
            self._tell(None)
            raise
        except BaseException as error:
            self._tell(error)
            raise

    async def aclose(self) -> None:
        try:
            with self._scope():
                await close(self._stream)
        except BaseException as error:
            self._tell(error)
            raise
        self._tell(GeneratorExit())

    def _tell(self, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(error)
