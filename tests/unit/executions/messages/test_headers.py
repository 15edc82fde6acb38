"""An execution has one trace and one correlation id, whatever makes it go on."""

from collections.abc import Iterator, Mapping

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from eventmesh import Context, DurableContext, Service, on
from eventmesh.durable.execution import Execution
from eventmesh.executions.events import delivery
from eventmesh.executions.messages.headers import MAX_BAGGAGE, beginning_headers, own_headers
from eventmesh.testing import TestMesh

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OTHER = f"00-{'5' * 32}-{'6' * 16}-01"


class Spans:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def find(self, name: str) -> list[ReadableSpan]:
        """Those of a name, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def last(self, name: str) -> ReadableSpan:
        return self.find(name)[-1]

    def kept(self, span: ReadableSpan) -> bool:
        """Whether something in the span was of the trace that the test began."""
        return trace.format_trace_id(_id(span).trace_id) == TRACE

    def line(self, span: ReadableSpan) -> list[str]:
        """Its name, and those of the spans that caused it, as far as they are here."""
        by_id = {_id(each).span_id: each for each in self._exporter.get_finished_spans()}
        names = [span.name]
        while span.parent is not None and span.parent.span_id in by_id:
            span = by_id[span.parent.span_id]
            names.append(span.name)
        return names


def _id(span: ReadableSpan) -> trace.SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def _parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield Spans(exporter)
    provider.shutdown()


@pytest.fixture
def seen() -> list[tuple[str, str, Mapping[str, str]]]:
    """Of each run: its function, its correlation id and its headers."""
    return []


@pytest.fixture
def shop(shop: Service, seen: list[tuple[str, str, Mapping[str, str]]]) -> Service:
    """A durable function that waits, and calls in each way after that."""

    def note(ctx: Context) -> None:
        seen.append((ctx.function, ctx.correlation_id, ctx.headers))

    @shop.function(on.event("order.placed"), durable=True)
    async def place(ctx: DurableContext) -> None:
        note(ctx)
        await ctx.wait("3d")
        await ctx.send("shop.mail")
        await ctx.emit("order.reminder")
        await ctx.invoke(pack)
        await ctx.invoke(collect)
        note(ctx)

    @shop.function(durable=True)
    async def collect(ctx: DurableContext) -> None:
        note(ctx)
        await ctx.wait("1d")
        await ctx.send("shop.mail")

    @shop.function
    async def mail(ctx: Context) -> None:
        note(ctx)

    @shop.function
    async def pack(ctx: Context) -> None:
        note(ctx)

    @shop.function(on.event("order.reminder"))
    async def remind(ctx: Context) -> None:
        note(ctx)

    return shop


async def test_what_later_turns_cause_is_in_the_trace(
    shop: Service, spans: Spans, seen: list[tuple[str, str, Mapping[str, str]]]
) -> None:
    async with TestMesh(shop) as mesh:
        id = await mesh.send("shop.place", headers={"traceparent": PARENT})
        await mesh.advance("5d")
    for name in ("shop.mail", "shop.remind", "shop.pack", "shop.collect", "shop.place"):
        assert all(spans.kept(span) for span in spans.find(name)), name
    turn = ["shop.place", "shop.place"]
    called = ["invoke shop.collect", "shop.place", *turn]
    assert sorted(map(spans.line, spans.find("shop.place")), key=len) == [
        ["shop.place"],
        *[turn] * 4,  # The time that has come, and the turns after it and after both calls.
        *[["shop.place", *turn]] * 2,  # The calls, which the turns cause.
        ["shop.place", "shop.collect", "shop.collect", *called],  # The answer of the second one.
    ]
    assert spans.line(spans.last("shop.remind")) == [
        "shop.remind",
        "emit order.reminder",
        "shop.place",
        "shop.place",
    ]
    assert spans.last("emit order.reminder").kind is SpanKind.PRODUCER
    assert spans.line(spans.last("shop.pack"))[:3] == [
        "shop.pack",
        "invoke shop.pack",
        "shop.place",
    ]
    assert spans.line(spans.last("shop.mail"))[:4] == [
        "shop.mail",
        "send shop.mail",
        *["shop.collect"] * 2,
    ]
    # What is recorded already is not sent again by a later turn, and has no span there.
    assert len(spans.find("send shop.mail")) == 2
    assert len(spans.find("emit order.reminder")) == 1
    assert {correlation for _, correlation, _ in seen} == {id}
    assert {function for function, _, _ in seen} == {
        f"shop.{name}" for name in ("place", "mail", "remind", "pack", "collect")
    }


async def test_without_a_tracer_the_trace_goes_on_as_it_came(
    shop: Service, seen: list[tuple[str, str, Mapping[str, str]]]
) -> None:
    given = {"traceparent": PARENT, "tracestate": "a=1", "baggage": "tenant=bl%c3%bce;own"}
    async with TestMesh(shop) as mesh:
        id = await mesh.emit("order.placed", headers=given)
        await mesh.advance("5d")
    assert {function for function, _, _ in seen} >= {"shop.mail", "shop.remind", "shop.pack"}
    for function, correlation, headers in seen:
        assert correlation == id, function
        assert given.items() <= headers.items(), function


async def test_a_trace_that_the_first_run_begins_goes_on(shop: Service, spans: Spans) -> None:
    async with TestMesh(shop) as mesh:
        await mesh.send("shop.place")
        await mesh.settle()
        (began,) = spans.find("shop.place")
        await mesh.advance("5d")
    assert began.parent is None
    everything = [*spans.find("shop.place"), *spans.find("shop.remind"), *spans.find("shop.mail")]
    assert {_id(span).trace_id for span in everything} == {_id(began).trace_id}


@pytest.fixture
def waiting(shop: Service) -> Service:
    """Durable functions that others let go on."""

    @shop.function(on.event("payment.*", starts=False), durable=True)
    async def pay(ctx: DurableContext) -> None:
        await ctx.wait_for_event("payment.received")
        await ctx.send("shop.mail")

    @shop.function(durable=True)
    async def approve(ctx: DurableContext) -> None:
        approval = await ctx.callback("approval", returns=type(None))
        await ctx.send("shop.ask", {"id": approval.id})
        await approval.result()
        await ctx.send("shop.mail")

    ids: list[str] = []

    @shop.function
    async def ask(id: str) -> None:
        ids.append(id)

    @shop.function
    async def answer(ctx: Context) -> None:
        await ctx.complete(ids[-1])

    return shop


@pytest.mark.parametrize("function", ["shop.pay", "shop.approve"])
async def test_what_lets_it_go_on_is_linked_and_no_parent(
    waiting: Service,
    spans: Spans,
    seen: list[tuple[str, str, Mapping[str, str]]],
    function: str,
) -> None:
    other = {"traceparent": OTHER}
    async with TestMesh(waiting) as mesh:
        id = await mesh.send(function, headers={"traceparent": PARENT})
        await mesh.settle()
        if function == "shop.pay":
            cause_id = await mesh.emit("payment.received", headers=other)
        else:
            cause_id = await mesh.send("shop.answer", headers=other)
        await mesh.settle()
    resumed = spans.last(function)
    assert spans.kept(resumed)
    assert spans.kept(spans.last("shop.mail"))
    assert seen[-1][:2] == ("shop.mail", id)
    (link,) = resumed.links
    # The run that took the event or the completion, in the trace of that.
    (cause,) = [span for span in spans.find(function) if not spans.kept(span)]
    assert (link.context.trace_id, link.context.span_id) == (int("5" * 32, 16), _id(cause).span_id)
    assert (cause.attributes or {})["eventmesh.correlation_id"] == cause_id
    assert [span.links for span in spans.find(function) if span is not resumed] == [()] * 2


async def test_an_event_for_many_is_one_chain(
    waiting: Service, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MAX_DELIVERED", 2)
    async with TestMesh(waiting) as mesh:
        for _ in range(5):
            await mesh.send("shop.pay")
        await mesh.settle()
        id = await mesh.emit("payment.received", headers={"traceparent": OTHER})
        await mesh.settle()
    runs = [span for span in spans.find("shop.pay") if _id(span).trace_id == int("5" * 32, 16)]
    assert len(runs) == 3
    assert [(span.attributes or {})["eventmesh.correlation_id"] for span in runs] == [id] * 3


def test_an_execution_of_an_earlier_version_has_its_id_for_all() -> None:
    execution = Execution("4fd0", "4fd0", "shop.place", "$LATEST", 1000.0)
    assert own_headers(execution) == {"em-correlation-id": "4fd0"}


def test_as_much_baggage_is_kept_as_must_be_handed_on() -> None:
    for size, kept in ((MAX_BAGGAGE, True), (MAX_BAGGAGE + 1, False)):
        baggage = "a=".ljust(size, "b")
        headers = beginning_headers({"traceparent": PARENT, "baggage": baggage}, "4fd0")
        assert headers["traceparent"] == PARENT
        assert ("baggage" in headers) is kept
