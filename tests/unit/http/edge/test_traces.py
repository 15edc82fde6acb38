"""What is believed of a stranger's trace."""

import pytest
from multidict import CIMultiDict
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
)

from eventmesh.http.edge import traces
from eventmesh.http.edge.traces import MAX_BAGGAGE, TraceReader, find_sampler
from eventmesh.middleware.tracing import trace_invocations
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result

LOW, HIGH = f"{'0' * 31}1", "f" * 32
"""Ids of traces of which a share is sampled, and is not: a share takes the lower ones."""


def parent(trace=LOW, flags="01"):
    return f"00-{trace}-b7ad6b7169203331-{flags}"


def read(reader, *headers):
    return reader.read(CIMultiDict(headers), "192.0.2.1")


@pytest.fixture
def sampled_by(monkeypatch):
    """The reader in a process whose provider has that sampler, and the provider."""

    def build(sampler):
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        monkeypatch.setattr(traces.trace, "get_tracer_provider", lambda: provider)
        return TraceReader(lambda _: False, find_sampler()), provider

    return build


@pytest.mark.parametrize(
    ("sampler", "trace", "recorded"),
    [
        (ParentBased(ALWAYS_ON), HIGH, True),
        (ParentBased(ALWAYS_OFF), LOW, False),
        (ParentBasedTraceIdRatio(0.5), LOW, True),
        (ParentBasedTraceIdRatio(0.5), HIGH, False),
        (ALWAYS_ON, HIGH, True),
    ],
)
@pytest.mark.parametrize("flags", ["00", "01", "03"])
async def test_our_sampler_decides_and_the_spans_keep_to_it(
    sampled_by, sampler, trace, recorded, flags
):
    reader, provider = sampled_by(sampler)
    headers = read(reader, ("traceparent", parent(trace, flags)))
    assert headers["traceparent"][:-2] == parent(trace, "")
    assert int(headers["traceparent"][-2:], 16) == (int(flags, 16) & 2 | recorded)
    seen = []

    async def handler(invocation):
        span = traces.trace.get_current_span()
        seen.append((span.is_recording(), f"{span.get_span_context().trace_id:032x}"))
        return Result()

    await trace_invocations(provider=provider)(handler)(
        Invocation("s.f", "1", b"", 0.0, headers=headers)
    )
    assert seen == [(recorded, trace)]
    provider.shutdown()


def test_a_process_that_records_nothing_asks_nobody_to():
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    reader = TraceReader(lambda _: False, find_sampler())
    assert read(reader, ("traceparent", parent()))["traceparent"] == parent(flags="00")


def test_flags_that_nobody_knows_yet_go_no_further():
    reader = TraceReader(lambda _: True, lambda _: False)
    assert read(reader, ("traceparent", parent(flags="ff")))["traceparent"] == parent(flags="03")


def test_baggage_of_one_that_is_trusted_has_a_limit_and_is_text():
    reader = TraceReader(lambda _: True, lambda _: False)
    given = ("traceparent", parent())
    assert read(reader, given, ("baggage", "a=\udcff,b=é"))["baggage"] == "a=?,b=é"
    assert "baggage" in read(reader, given, ("baggage", "x" * MAX_BAGGAGE))
    assert "baggage" not in read(reader, given, ("baggage", "x" * (MAX_BAGGAGE + 1)))
