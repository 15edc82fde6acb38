"""W3C Trace Context: the headers that belong to a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")
"""W3C Trace Context and Baggage: what is handed on from an invocation to what it causes."""


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Of these headers, those that belong to the trace."""
    return {name: headers[name] for name in TRACE_HEADERS if name in headers}
