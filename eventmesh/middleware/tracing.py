"""OpenTelemetry spans, where a tracer is configured.

Only OpenTelemetry's API is used: without a configured SDK there are no spans, and an invocation
without a trace costs one look-up. The trace continues all the same, because its headers (W3C Trace
Context) are copied from an invocation to what it calls, and stay with a message over retries. They
are the current context of the handler, too, for whatever else it calls.

Names of attributes are those of the semantic conventions for FaaS and messaging.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
)
from opentelemetry.util.types import AttributeValue

from eventmesh.abc import Handler, Middleware, Transport
from eventmesh.middleware.outcome import (
    ObservedStream,
    find_failure,
    is_client_error,
    name_error,
    name_outcome,
)
from eventmesh.model.errors import FunctionError
from eventmesh.model.event import TIMER_TYPE
from eventmesh.model.invocation import SYNC, Invocation
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.trace_context import (
    TRACE_LINK,
    TraceParent,
    find_correlation_id,
    parse_parent,
)

_SYSTEM: Final = "eventmesh"
_FAAS_TRIGGERS: Final[Mapping[str, str]] = {
    "http": "http",
    "event": "pubsub",
    "queue": "pubsub",
    "every": "timer",
    "cron": "timer",
    "at": "timer",
}


def trace_invocations(code_name: str = "", provider: TracerProvider | None = None) -> Middleware:
    """Run each invocation in a span named after its function.

    It is a server span if a caller waits and a consumer span otherwise, and continues the trace of
    the invocation's headers. `code_name` is the handler's own name, "module.function". Without
    a configured `provider` (the process's own, unless given) handlers run in the context of their
    caller; so configure it before pipelines are built.
    """
    tracer = _tracer(provider)

    def wrap(handler: Handler) -> Handler:
        return _continue(handler) if tracer is None else _trace(handler, tracer, code_name)

    return wrap


def trace_transport(transport: Transport, provider: TracerProvider | None = None) -> Transport:
    """Wrap each call in a span that becomes the parent of everything it triggers.

    Without a configured `provider` the transport is returned unchanged.
    """
    tracer = _tracer(provider)
    return transport if tracer is None else TracedTransport(transport, tracer)


def inject(headers: dict[str, str]) -> None:
    """Write the current span, if there is one, into headers, as the process's propagators do."""
    propagate.inject(headers)


def current_parent() -> TraceParent | None:
    """Return where in a trace the current code is; None if it is in none."""
    return _parent_in(get_current())


def find_parent(headers: Mapping[str, str]) -> TraceParent | None:
    """Return where in a trace headers are, as the process's propagators read them; None if not."""
    return _parent_in(propagate.extract(headers, Context()))


def _parent_in(context: Context) -> TraceParent | None:
    span = trace.get_current_span(context).get_span_context()
    if not span.is_valid:
        return None
    trace_id, span_id = trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
    return TraceParent(trace_id, span_id, span.trace_flags)


def _tracer(provider: TracerProvider | None) -> Tracer | None:
    if provider is None:
        provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return provider.get_tracer(_SYSTEM)


def _continue(handler: Handler) -> Handler:
    """Make the context of the caller current, without a span."""

    async def run_within(invocation: Invocation) -> Result:
        scope = partial(_attach, _parent(invocation))
        with scope():
            result = await handler(invocation)
        if result.stream is None:
            return result
        return replace(result, stream=ObservedStream(result.stream, _ignore, scope))

    def run(invocation: Invocation) -> Awaitable[Result]:
        # No coroutine of its own around those that have no trace.
        if "traceparent" in invocation.headers:
            return run_within(invocation)
        return handler(invocation)

    return run


def _ignore(_: BaseException | None) -> None:
    """Do nothing at the end of a stream."""


def _trace(handler: Handler, tracer: Tracer, code_name: str) -> Handler:
    async def run(invocation: Invocation) -> Result:
        parent = _parent(invocation)
        span = tracer.start_span(
            invocation.function,
            parent,
            SpanKind.SERVER if invocation.mode == SYNC else SpanKind.CONSUMER,
            _attributes(invocation, code_name),
            _links(invocation.headers),
        )
        scope = partial(_attach, trace.set_span_in_context(span, parent))
        try:
            with scope():
                result = await handler(invocation)
        except BaseException as error:
            _end(span, error)
            raise
        if result.stream is not None:
            return replace(result, stream=ObservedStream(result.stream, partial(_end, span), scope))
        _end(span, find_failure(result))
        return result

    return run


@contextmanager
def _attach(context: Context) -> Generator[None]:
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def _parent(invocation: Invocation) -> Context:
    if invocation.http is not None and trace.get_current_span().get_span_context().is_valid:
        return get_current()  # The HTTP server is traced itself, and this is within its span.
    # From an empty context: a worker's task may have been started within somebody's span.
    return propagate.extract(invocation.headers, Context())


def _links(headers: Mapping[str, str]) -> Sequence[Link]:
    """Return the link to what caused an invocation of another trace than its own."""
    text = headers.get(TRACE_LINK)
    cause = None if text is None else parse_parent([text])
    if cause is None:
        return ()
    ids = int(cause.trace, 16), int(cause.parent, 16)
    return (Link(SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(cause.flags))),)


def _attributes(invocation: Invocation, code_name: str) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "faas.name": invocation.function,
        "faas.invocation_id": invocation.id,
        "faas.trigger": _FAAS_TRIGGERS.get(invocation.trigger, "other"),
        "eventmesh.trigger": invocation.trigger,
        "eventmesh.attempt": invocation.attempt,
        "eventmesh.correlation_id": find_correlation_id(invocation.headers, invocation.id),
    }
    if invocation.redeliveries:
        attributes["eventmesh.redeliveries"] = invocation.redeliveries
    if code_name:
        attributes["code.function.name"] = code_name
    if invocation.http is not None:
        # Without the query, in which there may be secrets.
        attributes["http.request.method"] = invocation.http.method
        attributes["url.path"] = invocation.http.target.partition("?")[0]
    elif invocation.mode != SYNC and invocation.type != TIMER_TYPE:
        attributes |= _messaging("process", "process", invocation.function, invocation.id)
    if invocation.batch is not None:
        attributes["messaging.batch.message_count"] = len(invocation.batch.bodies)
    return attributes


def _messaging(operation: str, type: str, destination: str, id: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": type,
        "messaging.destination.name": destination,
        "messaging.message.id": id,
    }


def _end(span: Span, error: BaseException | None) -> None:
    """End the span of an invocation as the invocation ended."""
    span.set_attribute("eventmesh.outcome", name_outcome(error))
    if isinstance(error, Exception) and not is_client_error(error):
        _record(span, error)
    span.end()


def _record(span: Span, error: Exception) -> None:
    """Tell a span of a failure; that of a handler with the type and traceback it had there."""
    span.set_attribute("error.type", name_error(error))
    span.set_status(StatusCode.ERROR, str(error))
    if isinstance(error, FunctionError):
        exception = {
            "exception.type": error.type,
            "exception.message": error.message,
            "exception.stacktrace": error.traceback,
        }
        span.add_event("exception", exception)
    else:
        span.record_exception(error)


class TracedTransport:
    """A transport whose calls are spans: a client's for `request`, a producer's for the others."""

    __slots__ = ("_tracer", "_transport")

    def __init__(self, transport: Transport, tracer: Tracer) -> None:
        self._transport = transport
        self._tracer = tracer

    async def request(self, function: str, message: Message) -> Result:
        attributes: dict[str, AttributeValue] = {
            "faas.invoked_name": function,
            "faas.invocation_id": message.id,
        }
        with self._tracer.start_as_current_span(
            f"invoke {function}", _find_parent(message), SpanKind.CLIENT, attributes
        ) as span:
            result = await self._transport.request(function, _with_span(message))
            if result.error is not None:
                _record(span, result.error)
            return result

    async def send(self, destination: str, message: Message, delay: float) -> None:
        attributes = _messaging("send", "send", destination, message.id)
        with self._tracer.start_as_current_span(
            f"send {destination}", _find_parent(message), SpanKind.PRODUCER, attributes
        ):
            await self._transport.send(destination, _with_span(message), delay)

    async def emit(self, event: Message, delay: float) -> None:
        attributes = _messaging("emit", "send", event.type, event.id)
        with self._tracer.start_as_current_span(
            f"emit {event.type}", _find_parent(event), SpanKind.PRODUCER, attributes
        ):
            await self._transport.emit(_with_span(event), delay)


def _find_parent(message: Message) -> Context:
    """Return the parent of a call: the current span, or else the trace that its message carries."""
    if trace.get_current_span().get_span_context().is_valid:
        return get_current()
    return propagate.extract(message.headers, get_current())


def _with_span(message: Message) -> Message:
    """Return the message with the current span in its headers."""
    headers = dict(message.headers)
    inject(headers)
    return replace(message, headers=headers)
