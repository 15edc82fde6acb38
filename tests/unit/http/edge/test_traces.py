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
from eventmesh.model.trace_context import RANDOM, SAMPLED, parse_parent

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
    given, found = parse_parent([parent(trace, flags)]), parse_parent([headers["traceparent"]])
    assert found.trace == trace
    assert found.flags == given.flags & RANDOM | recorded
    ended = given.flags & SAMPLED and not recorded
    assert (found.parent != given.parent) == bool(ended)
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
    (text,) = read(reader, ("traceparent", parent(flags="03"))).values()
    assert text.startswith(f"00-{LOW}-")
    assert text.endswith("-02")
    unsampled = {"traceparent": parent(flags="02")}
    assert read(reader, *unsampled.items()) == unsampled


def test_an_unsampled_trace_does_not_go_on_under_the_id_of_a_sampled_span():
    """W3C Trace Context, section 3.4: a new parent-id with each change of the sampled flag."""
    reader = TraceReader(lambda _: False, lambda _: False)
    found = [read(reader, ("traceparent", parent()))["traceparent"] for _ in range(3)]
    parents = {parse_parent([text]).parent for text in found}
    assert len(parents | {parse_parent([parent()]).parent}) == 4
    trusting = TraceReader(lambda _: True, lambda _: False)
    assert read(trusting, ("traceparent", parent()))["traceparent"] == parent()


def test_flags_that_nobody_knows_yet_go_no_further():
    reader = TraceReader(lambda _: True, lambda _: False)
    assert read(reader, ("traceparent", parent(flags="ff")))["traceparent"] == parent(flags="03")


def test_baggage_of_one_that_is_trusted_has_a_limit_and_is_text():
    reader = TraceReader(lambda _: True, lambda _: False)
    given = ("traceparent", parent())
    assert read(reader, given, ("baggage", "a=\udcff,b=é"))["baggage"] == "a=?,b=é"
    assert "baggage" in read(reader, given, ("baggage", "x" * MAX_BAGGAGE))
    assert "baggage" not in read(reader, given, ("baggage", "x" * (MAX_BAGGAGE + 1)))
