"""The cases of W3C's harness for Trace Context, one a row.

https://github.com/w3c/trace-context/blob/main/test/test.py, at its strict level. Each row is sent
as a request; what its invocation gets is then run by a handler that calls somebody else, with a
tracer and without one.
"""

import pytest
from opentelemetry import propagate
from opentelemetry.sdk.trace import TracerProvider

from eventmesh import Context, Service, on
from eventmesh.middleware.tracing import trace_invocations
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result
from eventmesh.model.trace_context import SAMPLED

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
PARENT = f"00-{TRACE}-{SPAN}-01"
QUIET = f"00-{TRACE}-{SPAN}-00"
KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS = [",".join(f"bar{n:02}={n:02}" for n in range(first, first + 10)) for first in (1, 11, 21)]

PARENTS = [
    # the name of the case, the headers, and whether the trace goes on
    ("both_traceparent_and_tracestate_missing", [], False),
    ("traceparent_included_tracestate_missing", [("traceparent", PARENT)], True),
    (
        "traceparent_duplicated",
        [("traceparent", f"00-{TRACE[:-1]}1-{SPAN}-01"), ("traceparent", PARENT)],
        False,
    ),
    ("traceparent_duplicated_alike", [("traceparent", PARENT), ("traceparent", PARENT)], False),
    ("traceparent_header_name", [("trace-parent", PARENT)], False),
    ("traceparent_header_name", [("trace.parent", PARENT)], False),
    ("traceparent_header_name_valid_casing", [("TraceParent", PARENT)], True),
    ("traceparent_header_name_valid_casing", [("TrAcEpArEnT", PARENT)], True),
    ("traceparent_header_name_valid_casing", [("TRACEPARENT", PARENT)], True),
    ("traceparent_version_0x00", [("traceparent", f"{PARENT}.")], False),
    ("traceparent_version_0x00", [("traceparent", f"{PARENT}-what-the-future")], False),
    ("traceparent_version_0xcc", [("traceparent", f"cc-{TRACE}-{SPAN}-01")], True),
    ("traceparent_version_0xcc", [("traceparent", f"cc-{TRACE}-{SPAN}-01-what-the-")], True),
    ("traceparent_version_0xcc", [("traceparent", f"cc-{TRACE}-{SPAN}-01.what-the-")], False),
    ("traceparent_version_0xff", [("traceparent", f"ff-{TRACE}-{SPAN}-01")], False),
    ("traceparent_version_illegal_characters", [("traceparent", f".0-{TRACE}-{SPAN}-01")], False),
    ("traceparent_version_illegal_characters", [("traceparent", f"0.-{TRACE}-{SPAN}-01")], False),
    ("traceparent_version_upper_case", [("traceparent", f"CC-{TRACE}-{SPAN}-01")], False),
    ("traceparent_version_too_long", [("traceparent", f"000-{TRACE}-{SPAN}-01")], False),
    ("traceparent_version_too_long", [("traceparent", f"0000-{TRACE}-{SPAN}-01")], False),
    ("traceparent_version_too_short", [("traceparent", f"0-{TRACE}-{SPAN}-01")], False),
    ("traceparent_trace_id_all_zero", [("traceparent", f"00-{'0' * 32}-{SPAN}-01")], False),
    ("traceparent_trace_id_illegal", [("traceparent", f"00-.{TRACE[1:]}-{SPAN}-01")], False),
    ("traceparent_trace_id_illegal", [("traceparent", f"00-{TRACE[:-1]}.-{SPAN}-01")], False),
    ("traceparent_trace_id_upper_case", [("traceparent", f"00-{'A' * 32}-{SPAN}-01")], False),
    ("traceparent_trace_id_too_long", [("traceparent", f"00-{TRACE}3-{SPAN}-01")], False),
    ("traceparent_trace_id_too_short", [("traceparent", f"00-{TRACE[:-1]}-{SPAN}-01")], False),
    ("traceparent_parent_id_all_zero", [("traceparent", f"00-{TRACE}-{'0' * 16}-01")], False),
    ("traceparent_parent_id_illegal", [("traceparent", f"00-{TRACE}-.{SPAN[1:]}-01")], False),
    ("traceparent_parent_id_illegal", [("traceparent", f"00-{TRACE}-{SPAN[:-1]}.-01")], False),
    ("traceparent_parent_id_too_long", [("traceparent", f"00-{TRACE}-{SPAN}7-01")], False),
    ("traceparent_parent_id_too_short", [("traceparent", f"00-{TRACE}-{SPAN[:-1]}-01")], False),
    ("traceparent_trace_flags_illegal", [("traceparent", f"00-{TRACE}-{SPAN}-.0")], False),
    ("traceparent_trace_flags_illegal", [("traceparent", f"00-{TRACE}-{SPAN}-0.")], False),
    ("traceparent_trace_flags_too_long", [("traceparent", f"00-{TRACE}-{SPAN}-001")], False),
    ("traceparent_trace_flags_too_short", [("traceparent", f"00-{TRACE}-{SPAN}-1")], False),
    ("traceparent_ows_handling", [("traceparent", f" {PARENT}")], True),
    ("traceparent_ows_handling", [("traceparent", f"\t{PARENT}")], True),
    ("traceparent_ows_handling", [("traceparent", f"{PARENT} ")], True),
    ("traceparent_ows_handling", [("traceparent", f"{PARENT}\t")], True),
    ("traceparent_ows_handling", [("traceparent", f"\t {PARENT} \t")], True),
    ("tracestate_included_traceparent_missing", [("tracestate", "foo=1")], False),
    ("tracestate_included_traceparent_missing", [("tracestate", "foo=1,bar=2")], False),
]

STATES = [
    # the name of the case, the headers beside a valid traceparent, and the state that goes on
    ("tracestate_included_traceparent_included", [("tracestate", "foo=1,bar=2")], "foo=1,bar=2"),
    ("tracestate_header_name", [("trace-state", "foo=1")], ""),
    ("tracestate_header_name", [("trace.state", "foo=1")], ""),
    ("tracestate_header_name_valid_casing", [("TraceState", "foo=1")], "foo=1"),
    ("tracestate_header_name_valid_casing", [("TrAcEsTaTe", "foo=1")], "foo=1"),
    ("tracestate_header_name_valid_casing", [("TRACESTATE", "foo=1")], "foo=1"),
    ("tracestate_empty_header", [("tracestate", "")], ""),
    ("tracestate_empty_header", [("tracestate", "foo=1"), ("tracestate", "")], "foo=1"),
    ("tracestate_empty_header", [("tracestate", ""), ("tracestate", "foo=1")], "foo=1"),
    (
        "tracestate_multiple_headers_different_keys",
        [("tracestate", "foo=1,bar=2"), ("tracestate", "rojo=1,congo=2"), ("tracestate", "baz=3")],
        "foo=1,bar=2,rojo=1,congo=2,baz=3",
    ),
    ("tracestate_duplicated_keys", [("tracestate", "foo=1,foo=1")], ""),
    ("tracestate_duplicated_keys", [("tracestate", "foo=1,foo=2")], ""),
    ("tracestate_duplicated_keys", [("tracestate", "foo=1"), ("tracestate", "foo=1")], ""),
    ("tracestate_duplicated_keys", [("tracestate", "foo=1"), ("tracestate", "foo=2")], ""),
    ("tracestate_all_allowed_characters", [("tracestate", f"{KEY}={VALUE}")], f"{KEY}={VALUE}"),
    (
        "tracestate_all_allowed_characters",
        [("tracestate", f"{KEY}@a-z0-9_-*/={VALUE}")],
        f"{KEY}@a-z0-9_-*/={VALUE}",
    ),
    ("tracestate_ows_handling", [("tracestate", "foo=1 \t , \t bar=2, \t b=3")], "foo=1,bar=2,b=3"),
    ("tracestate_ows_handling", [("tracestate", "foo=1\t \t,\t \tbar=2")], "foo=1,bar=2"),
    ("tracestate_ows_handling", [("tracestate", " foo=1")], "foo=1"),
    ("tracestate_ows_handling", [("tracestate", "\tfoo=1")], "foo=1"),
    ("tracestate_ows_handling", [("tracestate", "foo=1 ")], "foo=1"),
    ("tracestate_ows_handling", [("tracestate", "foo=1\t")], "foo=1"),
    ("tracestate_ows_handling", [("tracestate", "\t foo=1 \t")], "foo=1"),
    ("tracestate_key_illegal_characters", [("tracestate", "foo =1")], ""),
    ("tracestate_key_illegal_characters", [("tracestate", "FOO=1")], ""),
    ("tracestate_key_illegal_characters", [("tracestate", "foo.bar=1")], ""),
    ("tracestate_key_illegal_vendor_format", [("tracestate", "foo@=1,bar=2")], ""),
    ("tracestate_key_illegal_vendor_format", [("tracestate", "@foo=1,bar=2")], ""),
    ("tracestate_key_illegal_vendor_format", [("tracestate", "foo@@bar=1,bar=2")], ""),
    ("tracestate_key_illegal_vendor_format", [("tracestate", "foo@bar@baz=1,bar=2")], ""),
    (
        "tracestate_member_count_limit",
        [*(("tracestate", line) for line in MEMBERS), ("tracestate", "bar31=31,bar32=32")],
        ",".join([*MEMBERS, "bar31=31,bar32=32"]),
    ),
    (
        "tracestate_member_count_limit",
        [*(("tracestate", line) for line in MEMBERS), ("tracestate", "bar31=31,bar32=32,bar33=33")],
        "",
    ),
    (
        "tracestate_key_length_limit",
        [("tracestate", "foo=1"), ("tracestate", f"{'z' * 256}=1")],
        f"foo=1,{'z' * 256}=1",
    ),
    (
        "tracestate_key_length_limit",
        [("tracestate", "foo=1"), ("tracestate", f"{'z' * 257}=1")],
        "",
    ),
    (
        "tracestate_key_length_limit",
        [("tracestate", "foo=1"), ("tracestate", f"{'t' * 241}@{'v' * 14}=1")],
        f"foo=1,{'t' * 241}@{'v' * 14}=1",
    ),
    (
        "tracestate_key_length_limit",
        [("tracestate", "foo=1"), ("tracestate", f"{'t' * 242}@v=1")],
        "",
    ),
    (
        "tracestate_key_length_limit",
        [("tracestate", "foo=1"), ("tracestate", f"t@{'v' * 15}=1")],
        "",
    ),
    ("tracestate_value_illegal_characters", [("tracestate", "foo=bar=baz")], ""),
    ("tracestate_value_illegal_characters", [("tracestate", "foo=,bar=3")], ""),
]


def names(rows):
    """The names of the rows, with a number behind those of several requests."""
    return [f"{name}-{number}" for number, (name, *_) in enumerate(rows)]


services = Service("s")


@services.function(on.get("/"))
async def show(ctx: Context) -> dict[str, str]:
    return dict(ctx.invocation.headers)


@pytest.fixture
def ask(serving):
    """What the headers of an invocation are, that a request with these headers causes."""

    async def ask(headers, **settings):
        async with (
            serving(services, **settings) as served,
            served.http.get("/", headers=[("Host", "localhost"), *headers]) as answer,
        ):
            return await answer.json()

    return ask


@pytest.fixture
def provider():
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider
    provider.shutdown()


async def call_out(headers, provider=None):
    """The headers of what a handler calls within an invocation with these headers."""
    sent = {}

    async def handler(invocation):
        propagate.inject(sent)
        return Result()

    await trace_invocations(provider=provider)(handler)(
        Invocation("s.show", "1", b"", 0.0, headers=headers)
    )
    return sent


@pytest.mark.parametrize(("headers", "goes_on"), [row[1:] for row in PARENTS], ids=names(PARENTS))
async def test_a_traceparent(ask, provider, headers, goes_on):
    carried = await ask(headers)
    assert set(carried) == ({"traceparent"} if goes_on else set())
    sent = await call_out(carried, provider)
    version, trace, span, flags = sent["traceparent"].split("-")
    assert version == "00"
    assert bool(int(flags, 16) & SAMPLED) is not goes_on
    assert (trace == TRACE) is goes_on
    assert int(trace, 16)
    assert int(span, 16) != int(SPAN, 16)
    assert await call_out(carried) == carried


@pytest.mark.parametrize(("headers", "state"), [row[1:] for row in STATES], ids=names(STATES))
async def test_a_tracestate(ask, provider, headers, state):
    carried = await ask([("traceparent", QUIET), *headers])
    assert carried == {"traceparent": QUIET} | ({"tracestate": state} if state else {})
    sent = await call_out(carried, provider)
    assert sent["traceparent"].split("-")[1] == TRACE
    assert "baggage" not in sent


async def test_several_calls_of_one_trace(ask, provider):
    for headers, traces in (([("traceparent", PARENT)], 1), ([], 3)):
        carried = await ask(headers)
        sent = [await call_out(carried, provider) for _ in range(3)]
        parts = [headers["traceparent"].split("-") for headers in sent]
        assert len({trace for _, trace, _, _ in parts}) == traces
        assert len({span for _, _, span, _ in parts}) == 3


async def test_a_stranger_decides_nothing_and_says_nothing(ask):
    given = [("traceparent", PARENT), ("baggage", "user=admin"), ("tracestate", "a=1")]
    for settings in ({}, {"trace_trust": ("192.0.2.0/24",)}):
        carried = await ask(given, **settings)
        assert set(carried) == {"traceparent", "tracestate"}
        assert carried["tracestate"] == "a=1"
        assert_unsampled(carried["traceparent"])


async def test_a_trusted_caller_does(ask):
    given = [("traceparent", PARENT), ("baggage", "user=ada"), ("baggage", "team=blue")]
    carried = await ask(given, trace_trust=("127.0.0.0/8",))
    assert carried == {"traceparent": PARENT, "baggage": "user=ada,team=blue"}
    invalid = [("traceparent", PARENT), ("traceparent", PARENT), ("baggage", "user=ada")]
    assert await ask(invalid, trace_trust=("127.0.0.0/8",)) == {}


async def test_whose_trace_it_is_says_a_trusted_proxy(ask):
    given = [("traceparent", PARENT), ("X-Forwarded-For", "192.0.2.1")]
    trust = {"trace_trust": ("127.0.0.0/8",)}
    assert await ask(given, **trust) == {"traceparent": PARENT}
    behind = await ask(given, **trust, trusted_proxies=("127.0.0.1/32",))
    assert set(behind) == {"traceparent"}
    assert_unsampled(behind["traceparent"])


def assert_unsampled(traceparent):
    """It goes on unsampled, and no longer under the id of the span that was sampled."""
    version, trace, span, flags = traceparent.split("-")
    assert (version, trace, flags) == ("00", TRACE, "00")
    assert span != SPAN
