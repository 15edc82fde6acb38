"""The trace and the correlation id of an execution: those of what began it, in every turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventmesh.durable.execution import Execution
from eventmesh.middleware.tracing import current_parent, find_parent, inject
from eventmesh.model.trace_context import CORRELATION_ID, TRACE_LINK, caused_headers

MAX_BAGGAGE: Final = 8192
"""Bytes of baggage that are kept, as many as must be handed on (W3C Baggage, section 3.3.2): it is
written with each change of an execution. More is dropped."""


def beginning_headers(headers: Mapping[str, str], id: str) -> dict[str, str]:
    """Return what an execution keeps of the invocation that begins it.

    That is its correlation id, and the span of its run, whose children the later turns are; where
    nobody traces, the trace that it came with.
    """
    kept = caused_headers(headers, id)
    _inject_other(kept)
    if len(kept.get("baggage", "").encode()) > MAX_BAGGAGE:
        del kept["baggage"]
    return kept


def own_headers(execution: Execution) -> dict[str, str]:
    """Return the headers of messages by which an execution goes on, whatever causes that.

    One that an earlier version began has kept none: its id is its correlation id.
    """
    return dict(execution.headers) or {CORRELATION_ID: execution.id}


def resuming_headers(execution: Execution) -> dict[str, str]:
    """Return those of a turn: with a link to the current span if that is of another trace."""
    headers = own_headers(execution)
    own, cause = find_parent(headers), current_parent()
    if cause is not None and (own is None or cause.trace != own.trace):
        headers[TRACE_LINK] = str(cause)
    return headers


def turn_headers(execution: Execution) -> dict[str, str]:
    """Return those of what a turn causes: the current span goes on if it is of the same trace."""
    headers = own_headers(execution)
    own, cause = find_parent(headers), current_parent()
    if own is not None and cause is not None and cause.trace == own.trace:
        _inject_other(headers)
    return headers


def _inject_other(headers: dict[str, str]) -> None:
    """Write the current span, unless it is what the headers say: then they stay as they came."""
    own, cause = find_parent(headers), current_parent()
    if own is None or cause is None or cause.parent != own.parent:
        inject(headers)
