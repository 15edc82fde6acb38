import asyncio

import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from eventmesh.middleware.tracing import inject, trace_invocations, trace_transport
from eventmesh.model.errors import FunctionError, InvocationTimeout, Problem, Reject
from eventmesh.model.event import TIMER_TYPE
from eventmesh.model.invocation import ASYNC, Batch, HttpRequest, RouteTemplate
from eventmesh.model.message import Message
from eventmesh.model.result import Result, close_stream

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def spans(exporter):
    """The spans that have ended so far."""
    return exporter.get_finished_spans


def ends_with(error=None, **fields):
    async def handler(invocation):
        return Result(error=error, **fields)

    return handler


class Recorder:
    """A transport that keeps what it is given, and answers or fails as told."""

    def __init__(self, result=None, error=None):
        self.sent = []
        self._result = result
        self._error = error

    async def request(self, function, message):
        self.sent.append(message)
        return self._result

    async def send(self, destination, message, delay):
        self.sent.append(message)
        if self._error is not None:
            raise self._error

    async def emit(self, event, delay):
        self.sent.append(event)


WITHOUT = pytest.mark.parametrize("provider", [None, trace.NoOpTracerProvider()])


@WITHOUT
async def test_without_a_configured_provider_nothing_stands_in_the_way(provider, invocation):
    transport = Recorder()
    assert trace_transport(transport, provider) is transport
    result, given = Result(), invocation()

    async def handler(invocation):
        assert invocation is given
        assert not trace.get_current_span().get_span_context().is_valid
        return result

    assert await trace_invocations(provider=provider)(handler)(given) is result


@WITHOUT
async def test_without_a_provider_the_callers_context_is_the_handlers(provider, invocation):
    current = []

    def note():
        headers = {}
        inject(headers)
        current.append(headers.get("traceparent"))

    async def generate():
        note()
        yield b"1"
        note()

    async def handler(invocation):
        note()
        return Result(stream=generate())

    run = trace_invocations(provider=provider)(handler)
    result = await run(invocation(headers={"traceparent": TRACEPARENT}))
    assert not trace.get_current_span().get_span_context().is_valid
    assert [item async for item in result.stream] == [b"1"]
    assert current == [TRACEPARENT] * 3


async def test_an_asynchronous_invocation_is_a_consumers_span(provider, spans, invocation):
    run = trace_invocations("shop.orders.place", provider)(ends_with())
    await run(invocation(mode=ASYNC, trigger="queue", attempt=2, batch=Batch([b"1", b"2"])))
    (span,) = spans()
    assert (span.name, span.kind) == ("orders.place", SpanKind.CONSUMER)
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "faas.name": "orders.place",
        "faas.invocation_id": "4fd0",
        "faas.trigger": "pubsub",
        "code.function.name": "shop.orders.place",
        "messaging.system": "eventmesh",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders.place",
        "messaging.message.id": "4fd0",
        "messaging.batch.message_count": 2,
        "eventmesh.trigger": "queue",
        "eventmesh.attempt": 2,
        "eventmesh.correlation_id": "4fd0",
        "eventmesh.outcome": "success",
    }


async def test_an_http_request_is_a_servers_span_and_its_query_stays_secret(
    provider, spans, invocation
):
    http = HttpRequest(
        RouteTemplate("POST /", (), True), "POST", "/orders/7?token=s3cret", {}, {}, {}
    )
    await trace_invocations(provider=provider)(ends_with())(invocation(trigger="http", http=http))
    (span,) = spans()
    assert span.kind is SpanKind.SERVER
    assert span.attributes["faas.trigger"] == "http"
    assert span.attributes["http.request.method"] == "POST"
    assert span.attributes["url.path"] == "/orders/7"
    assert "s3cret" not in span.to_json()


async def test_a_timers_firing_is_no_message(provider, spans, invocation):
    fired = invocation(mode=ASYNC, trigger="cron", type=TIMER_TYPE)
    await trace_invocations(provider=provider)(ends_with())(fired)
    (span,) = spans()
    assert span.attributes["faas.trigger"] == "timer"
    assert "messaging.system" not in span.attributes


async def test_the_trace_and_baggage_of_the_headers_go_on(provider, spans, invocation):
    seen = []

    async def handler(invocation):
        seen.extend([trace.get_current_span(), baggage.get_baggage("tenant")])
        return Result()

    headers = {"traceparent": TRACEPARENT, "baggage": "tenant=blue"}
    with provider.get_tracer("worker").start_as_current_span("what started the worker"):
        await trace_invocations(provider=provider)(handler)(invocation(mode=ASYNC, headers=headers))
    span = spans()[0]
    assert trace.format_trace_id(span.context.trace_id) == "0af7651916cd43dd8448eb211c80319c"
    assert trace.format_span_id(span.parent.span_id) == "b7ad6b7169203331"
    assert seen[0].get_span_context() == span.context
    assert seen[1] == "blue"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_span_within_which_a_worker_was_started_is_no_parent(provider, spans, invocation):
    with provider.get_tracer("worker").start_as_current_span("what started the worker"):
        await trace_invocations(provider=provider)(ends_with())(invocation(mode=ASYNC))
    assert spans()[0].parent is None


async def test_a_traced_http_server_is_the_parent(provider, spans, invocation):
    http = HttpRequest(RouteTemplate("GET /", (), False), "GET", "/", {}, {}, {})
    with provider.get_tracer("http").start_as_current_span("GET /") as server:
        run = trace_invocations(provider=provider)(ends_with())
        await run(invocation(http=http, headers={"traceparent": TRACEPARENT}))
    assert spans()[0].parent == server.get_span_context()


async def test_an_exception_of_the_handler_is_recorded_as_it_was(provider, spans, invocation):
    error = FunctionError("ValueError", "no such card", "Traceback …")
    await trace_invocations(provider=provider)(ends_with(error))(invocation())
    (span,) = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: no such card"
    assert span.attributes["error.type"] == "ValueError"
    (event,) = span.events
    assert event.name == "exception"
    assert dict(event.attributes) == {
        "exception.type": "ValueError",
        "exception.message": "no such card",
        "exception.stacktrace": "Traceback …",
    }


@pytest.mark.parametrize(
    ("error", "type"), [(InvocationTimeout("too slow"), "timeout"), (Reject("no"), "reject")]
)
async def test_other_failures_are_recorded_by_kind(provider, spans, invocation, error, type):
    await trace_invocations(provider=provider)(ends_with(error))(invocation())
    (span,) = spans()
    assert span.attributes["error.type"] == span.attributes["eventmesh.outcome"] == type
    assert span.events[0].attributes["exception.message"] == str(error)


async def test_an_answer_below_500_is_no_error(provider, spans, invocation):
    await trace_invocations(provider=provider)(ends_with(Problem(404, "no such order")))(
        invocation()
    )
    (span,) = spans()
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["eventmesh.outcome"] == "problem"
    assert span.events == ()


async def test_a_cancelled_run_ends_its_span(provider, spans, invocation):
    async def handler(invocation):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await trace_invocations(provider=provider)(handler)(invocation())
    (span,) = spans()
    assert span.attributes["eventmesh.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


async def test_a_stream_is_within_its_span_until_it_ends(provider, spans, invocation):
    current = []

    async def generate():
        current.append(trace.get_current_span().get_span_context())
        yield b"1"
        raise FunctionError("ValueError", "boom")

    async def handler(invocation):
        return Result(stream=generate())

    result = await trace_invocations(provider=provider)(handler)(invocation())
    assert await anext(result.stream) == b"1"
    assert not trace.get_current_span().get_span_context().is_valid
    assert spans() == ()
    with pytest.raises(FunctionError):
        await anext(result.stream)
    await close_stream(result.stream)
    (span,) = spans()
    assert current == [span.context]
    assert span.status.status_code is StatusCode.ERROR


async def test_a_request_is_a_clients_span_that_the_callee_continues(provider, spans):
    transport = Recorder(Result(error=InvocationTimeout("too slow")))
    message = Message(b"", "4fd0", 0.0, headers={"a": "b"})
    result = await trace_transport(transport, provider).request("pricing.quote", message)
    assert isinstance(result.error, InvocationTimeout)
    (span,) = spans()
    assert (span.name, span.kind) == ("invoke pricing.quote", SpanKind.CLIENT)
    assert span.attributes["faas.invoked_name"] == "pricing.quote"
    assert span.status.status_code is StatusCode.ERROR
    (sent,) = transport.sent
    assert sent.headers["a"] == "b"
    assert (
        f"-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
        in (sent.headers["traceparent"])
    )
    assert message.headers == {"a": "b"}


async def test_sends_and_events_are_producers_spans(provider, spans):
    transport = Recorder()
    traced_one = trace_transport(transport, provider)
    await traced_one.send("mailer.receipt", Message(b"", "1", 0.0), 0.0)
    await traced_one.emit(Message(b"", "2", 0.0, type="order.placed"), 0.0)
    send, emit = spans()
    assert (send.name, send.kind) == ("send mailer.receipt", SpanKind.PRODUCER)
    assert send.attributes["messaging.destination.name"] == "mailer.receipt"
    assert (emit.name, emit.kind) == ("emit order.placed", SpanKind.PRODUCER)
    assert emit.attributes["messaging.message.id"] == "2"
    for span, sent in zip((send, emit), transport.sent, strict=True):
        assert f"{span.context.span_id:016x}" in sent.headers["traceparent"]


async def test_a_message_that_belongs_to_a_trace_already_stays_in_it(provider, spans):
    message = Message(b"", "1", 0.0, headers={"traceparent": TRACEPARENT})
    await trace_transport(Recorder(), provider).send("mailer.receipt", message, 0.0)
    (span,) = spans()
    assert trace.format_trace_id(span.context.trace_id) in TRACEPARENT
    assert trace.format_span_id(span.parent.span_id) in TRACEPARENT


async def test_a_send_that_fails_is_an_error_and_raises(provider, spans):
    transport = Recorder(error=InvocationTimeout("too slow"))
    with pytest.raises(InvocationTimeout):
        await trace_transport(transport, provider).send("a.b", Message(b"", "1", 0.0), 0.0)
    assert spans()[0].status.status_code is StatusCode.ERROR


async def test_what_a_handler_sends_belongs_to_its_trace(provider, spans, invocation):
    transport = trace_transport(Recorder(), provider)

    async def handler(invocation):
        await transport.send("mailer.receipt", Message(b"", "1", 0.0), 0.0)
        return Result()

    await trace_invocations(provider=provider)(handler)(
        invocation(headers={"traceparent": TRACEPARENT})
    )
    send, run = spans()
    assert send.parent == run.context
    assert trace.format_trace_id(send.context.trace_id) in TRACEPARENT


def test_inject_writes_the_current_span_if_there_is_one(provider):
    headers = {}
    inject(headers)
    assert headers == {}
    with provider.get_tracer("test").start_as_current_span("current") as span:
        inject(headers)
    assert f"{span.get_span_context().span_id:016x}" in headers["traceparent"]
