import random
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.model.errors import (
    DeclarationError,
    FunctionError,
    FunctionNotFound,
    InvocationTimeout,
    PayloadInvalid,
    Reject,
    Throttled,
)
from eventmesh.model.event import event_from
from eventmesh.model.ids import new_id
from eventmesh.model.result import Result
from eventmesh.model.trace_context import trace_headers

START = 1_000.0


class Quote(BaseModel):
    total: int


class Declared:
    """The least that is a declared function."""

    def __init__(self, result_type: Any = None) -> None:
        self.full_name = "a.b"
        self.result_type = result_type

    def __call__(self) -> None:
        raise AssertionError("it is called by name")


@pytest.fixture
def caller(mesh):
    return Caller(BrokerTransport(mesh.broker), mesh.clock, "x.y")


async def test_an_invocation_carries_what_its_function_gets(mesh, caller):
    await mesh.answers("a.b", lambda _: Result(b"7"))
    assert await caller.invoke("a.b", {"x": 1}, timeout="5s", headers={"k": "v"}) == 7
    (request,) = mesh.requests
    assert request.body == b'{"x":1}'
    assert (request.timestamp, request.deadline) == (START, START + 5)
    assert (request.caller, request.trigger, request.headers) == ("x.y", "invoke", {"k": "v"})


async def test_without_a_payload_and_a_timeout(mesh, caller):
    await mesh.answers("a.b", lambda _: Result())
    assert await caller.invoke("a.b") is None
    assert mesh.requests[0].body == b"null"
    assert mesh.requests[0].deadline == START + 30


@pytest.mark.parametrize(
    ("returns", "result", "value"),
    [
        (None, Result(b'{"total":7}'), {"total": 7}),
        (Any, Result(b'{"total":7}'), {"total": 7}),
        (Any, Result(b'{"a":1}', content_type="application/vnd.api+json"), {"a": 1}),
        (None, Result(b"a,b", content_type="text/csv"), b"a,b"),
        (Quote, Result(b'{"total":7}'), Quote(total=7)),
        (list[int], Result(b"[1,2]"), [1, 2]),
        (int | None, Result(b"null"), None),
        (bytes, Result(b"\xff\x00"), b"\xff\x00"),
        (int, Result(str(2**70).encode()), 2**70),
    ],
)
async def test_a_result_is_of_the_type_that_was_declared_or_asked_for(
    mesh, caller, returns, result, value
):
    await mesh.answers("a.b", lambda _: result)
    assert await caller.invoke("a.b", returns=returns) == value
    assert await caller.invoke(Declared(returns)) == value


@pytest.mark.parametrize(
    ("returns", "body", "message"),
    [
        (Quote, b'{"total":"much"}', "the result of a.b does not fit: total: "),
        (None, b"\xff", "the result of a.b is not JSON: "),
    ],
)
async def test_a_result_that_does_not_fit_says_whose_it_is(mesh, caller, returns, body, message):
    await mesh.answers("a.b", lambda _: Result(body))
    with pytest.raises(PayloadInvalid) as caught:
        await caller.invoke("a.b", returns=returns)
    assert str(caught.value).startswith(message)


async def test_a_failure_is_raised(mesh, caller):
    await mesh.answers("a.b", lambda _: Result(b"", error=Throttled("busy", 3)))
    with pytest.raises(Throttled, match="busy; try again in 3 s"):
        await caller.invoke("a.b")


async def test_a_signal_of_the_function_steers_its_own_settlement_and_no_other(mesh, caller):
    await mesh.answers("a.b", lambda _: Result(b"", error=Reject("broken")))
    with pytest.raises(FunctionError, match="Reject: broken"):
        await caller.invoke("a.b")


async def test_nor_does_one_that_a_transport_hands_over_as_it_is(mesh):
    class Near:
        async def request(self, function, message):
            return Result(b"", error=Reject("broken"))

    with pytest.raises(FunctionError, match="Reject: broken"):
        await Caller(Near(), mesh.clock, "").invoke("a.b")


@pytest.mark.parametrize("name", ["a.b", "pricing", "queue:q", "event:e", "", "a.b.c", "\ud800.x"])
async def test_what_is_no_function_is_not_found(caller, name):
    with pytest.raises(FunctionNotFound) as caught:
        await caller.invoke(name)
    assert caught.value.name == name


@pytest.mark.parametrize("name", ["a.b", "pricing", "queue:q", "queue:", "", "queue:em.inbox.a.b"])
async def test_what_nothing_can_be_sent_to_is_not_found(caller, name):
    with pytest.raises(FunctionNotFound) as caught:
        await caller.send(name)
    assert repr(name.removeprefix("queue:")) in str(caught.value)


async def test_a_call_out_of_time_is_over(mesh, caller):
    await mesh.answers("a.b", lambda _: Result())
    with pytest.raises(InvocationTimeout):
        await caller.invoke("a.b", timeout=0)


@pytest.mark.parametrize("call", ["invoke", "send", "emit"])
async def test_a_payload_without_a_json_form_is_refused(mesh, caller, call):
    await mesh.answers("a.b", lambda _: Result())
    await mesh.keeps("a.b")
    with pytest.raises(PayloadInvalid, match="cannot be sent as JSON"):
        await getattr(caller, call)("a.b", object())
    assert mesh.requests == []
    assert await mesh.kept("a.b") is None


@pytest.mark.parametrize("call", ["invoke", "send", "emit"])
@pytest.mark.parametrize("headers", [{"k": "\ud800"}, {"k\udcff": "v"}], ids=ascii)
async def test_a_header_that_utf_8_cannot_carry_is_refused(mesh, caller, call, headers):
    await mesh.answers("a.b", lambda _: Result())
    await mesh.keeps("a.b", pattern="#")
    with pytest.raises(PayloadInvalid, match="lone surrogate"):
        await getattr(caller, call)("a.b", headers=headers)
    assert mesh.requests == []
    assert await mesh.kept("a.b") is None


async def test_what_is_sent_is_kept_for_its_function(mesh, caller):
    await mesh.keeps("a.b")
    id = await caller.send(Declared(), [1], headers={"k": "v"})
    message = await mesh.kept("a.b")
    assert (message.id, message.body, message.headers) == (id, b"[1]", {"k": "v"})
    assert (message.timestamp, message.deadline, message.caller) == (START, None, "x.y")


async def test_what_is_sent_to_a_queue_is_kept_there(mesh, caller):
    await mesh.keeps(queue="invoices")
    await caller.send("queue:invoices", 7)
    assert (await mesh.kept(queue="invoices")).body == b"7"


async def test_what_is_sent_with_a_delay_comes_later(mesh, caller):
    await mesh.keeps("a.b")
    await caller.send("a.b", 7, delay="1m")
    await mesh.clock.advance(59)
    assert await mesh.kept("a.b") is None
    await mesh.clock.advance(1)
    assert (await mesh.kept("a.b")).body == b"7"


@pytest.mark.parametrize("call", ["send", "emit"])
async def test_an_id_of_the_senders_own(mesh, caller, call):
    await mesh.keeps("a.b", pattern="a.b")
    assert await getattr(caller, call)("a.b", id="order-7") == "order-7"
    assert (await mesh.kept("a.b")).id == "order-7"


@pytest.mark.parametrize("call", ["send", "emit"])
@pytest.mark.parametrize(
    "options", [{"id": "i" * 256}, {"id": "a\nb"}, {"id": "\ud800"}, {"delay": -1}]
)
async def test_an_id_or_a_delay_that_is_none_is_refused(mesh, caller, call, options):
    await mesh.keeps("a.b", pattern="#")
    with pytest.raises(DeclarationError):
        await getattr(caller, call)("a.b", **options)
    assert await mesh.kept("a.b") is None


async def test_an_event_has_its_attributes(mesh, caller):
    await mesh.keeps("a.b", pattern="order.*")
    id = await caller.emit("order.placed", {"x": 1}, subject="7", headers={"k": "v"})
    message = await mesh.kept("a.b")
    assert (message.type, message.trigger, message.caller) == ("order.placed", "event", "x.y")
    assert message.headers["k"] == "v"
    event = event_from(message.type, message.id, None, "", message.headers, created=0)
    assert (event.id, event.source, event.subject) == (id, "/x.y", "7")
    assert event.time == datetime.fromtimestamp(START, UTC)


async def test_an_event_may_have_another_source(mesh, caller):
    await mesh.keeps("a.b", pattern="#")
    await caller.emit("order.placed", source="//example.com")
    assert (await mesh.kept("a.b")).headers["cloudEvents:source"] == "//example.com"


async def test_to_send_to_an_event_is_to_emit_it(mesh, caller):
    await mesh.keeps("a.b", pattern="order.placed")
    id = await caller.send("event:order.placed", 7, id="one", headers={"k": "v"})
    message = await mesh.kept("a.b")
    assert (message.id, message.type, message.trigger) == (id, "order.placed", "event")
    assert message.headers.items() >= {"k": "v", "cloudEvents:source": "/x.y"}.items()


async def test_nobody_need_have_subscribed(caller):
    assert await caller.emit("order.placed")


@pytest.mark.parametrize("type", ["", "order.*", "order placed"])
async def test_an_event_of_no_type_is_refused(caller, type):
    with pytest.raises(DeclarationError, match="an event cannot have the type"):
        await caller.emit(type)
    with pytest.raises(DeclarationError, match="an event cannot have the type"):
        await caller.send(f"event:{type}")


def test_of_headers_the_trace_is_handed_on():
    headers = {"traceparent": "00-1", "tracestate": "s", "baggage": "b", "cookie": "c"}
    assert trace_headers(headers) == {"traceparent": "00-1", "tracestate": "s", "baggage": "b"}
    assert trace_headers({}) == {}


def test_an_id_is_new_even_where_randomness_is_seeded():
    ids = set()
    for _ in range(100):
        random.seed(7)
        ids.add(new_id())
    assert len(ids) == 100
    assert all(len(id) == 32 and int(id, 16) >= 0 for id in ids)
