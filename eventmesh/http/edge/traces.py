"""What is believed of a trace that comes from outside (W3C Trace Context, sections 3 and 7).

A caller's trace goes on: its id, and its tracestate within the limits of the standard. Unless the
caller is trusted, it does not decide what is recorded here, which costs us money, and its baggage,
which functions may take for that of their own callers, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from multidict import MultiMapping
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from eventmesh.model.access.addresses import match_address
from eventmesh.model.message import NO_HEADERS, utf8
from eventmesh.model.settings import Settings
from eventmesh.model.trace_context import (
    SAMPLED,
    TraceParent,
    new_span_id,
    parse_parent,
    parse_state,
)

MAX_BAGGAGE: Final = 8192
"""Bytes of baggage that are handed on (https://www.w3.org/TR/baggage/, section 3.3.2)."""

_TRACEPARENT: Final = "traceparent"
_TRACESTATE: Final = "tracestate"
_BAGGAGE: Final = "baggage"
_NAME: Final = "request"

Sampler: TypeAlias = Callable[[int], bool]
"""Says of a trace's id whether we record that trace."""


class TraceReader:
    """Reads the trace of a request."""

    __slots__ = ("_samples", "_trusts")

    def __init__(self, trusts: Callable[[str], bool], samples: Sampler) -> None:
        """`trusts` says of a client's address whether all that it says of a trace is believed."""
        self._trusts = trusts
        self._samples = samples

    def read(self, headers: MultiMapping[str], client: str) -> Mapping[str, str]:
        """Read the headers of the trace, to be those of an invocation."""
        trusted = self._trusts(client)
        parent = parse_parent(headers.getall(_TRACEPARENT, ()))
        found: dict[str, str] = {}
        if parent is not None:
            found[_TRACEPARENT] = str(parent if trusted else self._decide(parent))
            if state := parse_state(headers.getall(_TRACESTATE, ())):
                found[_TRACESTATE] = state
        if parent is not None and trusted and (lines := headers.getall(_BAGGAGE, ())):
            # Bytes that are not UTF-8 come as lone surrogates: a fault of a trace ends no request.
            baggage = utf8(",".join(lines))
            if len(baggage.encode()) <= MAX_BAGGAGE:
                found[_BAGGAGE] = baggage
        return found or NO_HEADERS

    def _decide(self, parent: TraceParent) -> TraceParent:
        if self._samples(int(parent.trace, 16)):
            return TraceParent(parent.trace, parent.parent, parent.flags | SAMPLED)
        if not parent.flags & SAMPLED:
            return parent
        # With this flag the parent-id has to change (section 3.4). Where we record, our span's id
        # is the new one; here there may be no span, and the caller's id would go on to others.
        return TraceParent(parent.trace, new_span_id(), parent.flags & ~SAMPLED)


def build_trace_reader(settings: Settings) -> TraceReader:
    """Build the reader that the settings ask for, with the sampler of this process."""
    return TraceReader(match_address(settings.trace_trust), find_sampler())


def find_sampler() -> Sampler:
    """Find what decides for traces that begin here: the sampler of the tracer's provider.

    A process that records nothing decides that nothing is recorded.
    """
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    if sampler is None:
        return lambda _: False

    def samples(id: int) -> bool:
        # In an empty context: as for a trace that has no caller.
        result = sampler.should_sample(Context(), id, _NAME, SpanKind.SERVER)
        return bool(result.decision.is_sampled())

    return samples
