from datetime import UTC, datetime, timedelta

import pytest

from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.context import Context
from eventmesh.model.errors import InvocationTimeout
from eventmesh.model.event import TIMER_TYPE, event_headers
from eventmesh.model.invocation import HttpRequest, Invocation, RouteTemplate
from eventmesh.model.result import Result
from eventmesh.model.trace_context import CORRELATION_ID

START = 1_000.0
TRACE = {"traceparent": "00-1", "tracestate": "s", "baggage": "b"}


@pytest.fixture
def context(mesh):
    def make(**fields):
        id = fields.pop("id", "id-1")
        invocation = Invocation("shop.place", id, b"", START, **fields)
        return Context(invocation, BrokerTransport(mesh.broker), mesh.clock)

    return make


def test_it_tells_what_the_invocation_is(context):
    ctx = context(trigger="queue", attempt=3, caller="a.b", headers={"k": "v"}, deadline=START + 9)
    assert (ctx.id, ctx.function, ctx.attempt) == ("id-1", "shop.place", 3)
    assert (ctx.trigger, ctx.caller, ctx.headers) == ("queue", "a.b", {"k": "v"})
    assert ctx.deadline == START + 9


def test_the_headers_of_a_request_are_those_that_http_had(context):
    http = HttpRequest(RouteTemplate("GET /", (), False), "GET", "/", {}, {}, {"accept": "*/*"})
    assert context(headers=TRACE, http=http).headers == {"accept": "*/*"}


async def test_now_is_what_the_clock_says(mesh, context):
    ctx = context()
    await mesh.clock.advance("1d")
    assert ctx.now == datetime.fromtimestamp(START, UTC) + timedelta(days=1)


async def test_the_remaining_time_runs_out_and_stays_at_nothing(mesh, context):
    ctx = context(deadline=START + 9)
    assert ctx.remaining == 9
    await mesh.clock.advance(4)
    assert ctx.remaining == 5
    await mesh.clock.advance(6)
    assert ctx.remaining == 0


def test_without_a_deadline_time_does_not_run_out(context):
    assert context().deadline is None
    assert context().remaining is None


def test_a_firing_knows_when_it_was_scheduled(context):
    headers = event_headers("/shop", 1709208000.0)
    ctx = context(type=TIMER_TYPE, trigger="cron", headers=headers)
    assert ctx.scheduled_at == datetime(2024, 2, 29, 12, tzinfo=UTC)


def test_what_no_timer_fired_was_not_scheduled(context):
    assert context().scheduled_at is None
    assert context(type="order.placed", headers=event_headers("/shop", 0)).scheduled_at is None


def test_a_firing_that_does_not_say_was_scheduled_for_when_it_was_made(context):
    assert context(type=TIMER_TYPE).scheduled_at == datetime.fromtimestamp(START, UTC)


def test_the_logger_is_the_function_s(context):
    assert context().logger.name == "eventmesh.function.shop.place"


@pytest.mark.parametrize(
    ("own", "timeout", "deadline"),
    [
        (None, None, 30),
        (None, "1m", 60),
        (9, None, 9),
        (900, None, 900),
        (9, 5, 5),
        (9, 60, 9),
    ],
)
async def test_a_call_takes_no_longer_than_what_is_left(mesh, context, own, timeout, deadline):
    await mesh.answers("a.b", lambda _: Result())
    ctx = context(deadline=None if own is None else START + own)
    await ctx.invoke("a.b", timeout=timeout)
    assert mesh.requests[0].deadline == START + deadline


async def test_nothing_is_called_when_no_time_is_left(mesh, context):
    await mesh.answers("a.b", lambda _: Result())
    ctx = context(deadline=START + 9)
    await mesh.clock.advance(9)
    with pytest.raises(InvocationTimeout):
        await ctx.invoke("a.b", timeout=60)
    assert mesh.requests == []


async def test_the_trace_goes_on_in_whatever_is_caused(mesh, context):
    await mesh.answers("a.b", lambda _: Result())
    await mesh.keeps("a.b", pattern="#")
    ctx = context(headers=TRACE | {"cookie": "hunter2"})
    await ctx.invoke("a.b")
    await ctx.send("a.b", headers={"k": "v"})
    await ctx.emit("order.placed", headers={"baggage": "own"})
    sent, emitted = await mesh.kept("a.b"), await mesh.kept("a.b")
    causes = TRACE | {CORRELATION_ID: ctx.id}
    assert mesh.requests[0].headers == causes
    assert sent.headers == causes | {"k": "v"}
    assert emitted.headers.items() >= {"traceparent": "00-1", "baggage": "own"}.items()
    assert "cookie" not in emitted.headers


async def test_all_that_follows_has_the_id_of_the_first(mesh, context):
    await mesh.keeps("a.b")
    first = context()
    assert first.correlation_id == first.id
    await first.send("a.b")
    second = context(headers=(await mesh.kept("a.b")).headers, id="second")
    assert second.correlation_id == first.id
    await second.send("a.b")
    assert (await mesh.kept("a.b")).headers[CORRELATION_ID] == first.id


@pytest.mark.parametrize("text", ["", "a\nb", "x" * 256])
def test_what_cannot_be_an_id_is_no_correlation_id(context, text):
    assert context(headers={CORRELATION_ID: text}).correlation_id == context().id


async def test_what_it_causes_says_by_whom(mesh, context):
    await mesh.answers("a.b", lambda _: Result())
    await mesh.keeps("a.b", pattern="#")
    await context().invoke("a.b")
    await context().send("a.b")
    await context().emit("order.placed")
    sent, emitted = await mesh.kept("a.b"), await mesh.kept("a.b")
    assert {mesh.requests[0].caller, sent.caller, emitted.caller} == {"shop.place"}
    assert emitted.headers["cloudEvents:source"] == "/shop.place"


async def test_a_delayed_message_belongs_to_the_same_trace(mesh, context):
    await mesh.keeps("a.b")
    await context(headers=TRACE).send("a.b", delay=60)
    await mesh.clock.advance(60)
    assert (await mesh.kept("a.b")).headers.items() >= TRACE.items()
