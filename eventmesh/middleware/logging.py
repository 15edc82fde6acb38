"""Logs each invocation that has ended, and adds its id to every record of its handler."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Final

from opentelemetry import trace

from eventmesh.abc import Handler, Middleware
from eventmesh.aio.clock import Clock
from eventmesh.middleware.outcome import (
    CANCELLED,
    ObservedStream,
    find_failure,
    is_client_error,
    list_faults,
    name_error,
    name_outcome,
)
from eventmesh.model.errors import FunctionError
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result
from eventmesh.model.trace_context import find_correlation_id

_log: Final = logging.getLogger("eventmesh.invocations")
_current: Final[ContextVar[Invocation | None]] = ContextVar("eventmesh_invocation", default=None)
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-")
"""W3C Trace Context, section 3.2: version, trace id, parent id, flags."""


def log_invocations(clock: Clock) -> Middleware:
    """Write a record to the logger "eventmesh.invocations" when an invocation has ended.

    INFO for a success, a cancellation or a problem below 500, ERROR with the traceback for a
    handler that raised, WARNING for any other failure. Its fields are those
    of `InvocationFields`, `outcome`, `duration_ms`, and of a failure `error_type` and `error`.
    Payloads and headers are never written.
    """

    def wrap(handler: Handler) -> Handler:
        return _log_ended(handler, clock)

    return wrap


class InvocationFields(logging.Filter):
    """Adds the fields of the running invocation to every record that passes.

    `invocation_id`, `correlation_id`, `function`, `attempt`, `trigger`, and, where there are any,
    `redeliveries`, `trace_id` and `span_id`. Attach it to a handler: a logger's filter does not see
    the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        invocation = _current.get()
        if invocation is not None:
            record.__dict__ |= _fields(invocation) | record.__dict__
        return True


def _log_ended(handler: Handler, clock: Clock) -> Handler:
    now = clock.now

    def ended(invocation: Invocation, started: float, error: BaseException | None) -> None:
        level = _level(error)
        if _log.isEnabledFor(level):
            _write(level, invocation, now() - started, error)

    async def run(invocation: Invocation) -> Result:
        started = now()
        token = _current.set(invocation)
        try:
            result = await handler(invocation)
        except BaseException as error:
            ended(invocation, started, error)
            raise
        finally:
            _current.reset(token)
        if result.stream is not None:
            end, scope = partial(ended, invocation, started), partial(_bind_invocation, invocation)
            return replace(result, stream=ObservedStream(result.stream, end, scope))
        ended(invocation, started, find_failure(result))
        return result

    return run


@contextmanager
def _bind_invocation(invocation: Invocation) -> Generator[None]:
    token = _current.set(invocation)
    try:
        yield
    finally:
        _current.reset(token)


def _level(error: BaseException | None) -> int:
    if error is None or is_client_error(error) or name_outcome(error) == CANCELLED:
        return logging.INFO
    return logging.ERROR if isinstance(error, FunctionError) else logging.WARNING


def _write(
    level: int, invocation: Invocation, duration: float, error: BaseException | None
) -> None:
    outcome = name_outcome(error)
    milliseconds = round(duration * 1000, 3)
    fields = _fields(invocation) | {"outcome": outcome, "duration_ms": milliseconds}
    text = "%s: %s in %.1f ms"
    arguments: tuple[object, ...] = (invocation.function, outcome, milliseconds)
    if error is not None and outcome != CANCELLED:
        fields |= {"error_type": name_error(error), "error": str(error)}
        text, arguments = text + ": %s", (*arguments, error)
    # Made by hand: a logger would look for the line of code that logs, which is always this one.
    record = _log.makeRecord(_log.name, level, __file__, 0, text, arguments, None, extra=fields)
    record.exc_text = _traceback(error)
    _log.handle(record)


def _fields(invocation: Invocation) -> dict[str, Any]:
    return {
        "invocation_id": invocation.id,
        "correlation_id": find_correlation_id(invocation.headers, invocation.id),
        "function": invocation.function,
        "attempt": invocation.attempt,
        "trigger": invocation.trigger,
        **_redeliveries(invocation),
        **_trace(invocation),
    }


def _redeliveries(invocation: Invocation) -> dict[str, int]:
    return {"redeliveries": invocation.redeliveries} if invocation.redeliveries else {}


def _trace(invocation: Invocation) -> dict[str, str]:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return {
            "trace_id": trace.format_trace_id(span.trace_id),
            "span_id": trace.format_span_id(span.span_id),
        }
    traceparent = _TRACEPARENT.match(invocation.headers.get("traceparent", ""))
    return {} if traceparent is None else {"trace_id": traceparent[1]}


def _traceback(error: BaseException | None) -> str | None:
    """Return the traceback of a failure; for a batch, of the first item that has one."""
    tracebacks = (
        fault.traceback for fault in list_faults(error) if isinstance(fault, FunctionError)
    )
    return next((text.rstrip() for text in tracebacks if text), None)
