"""What an instance gets is what its service has, and what it sends is read with care."""

from dataclasses import fields, replace

import orjson
import pytest
from multidict import CIMultiDict

from eventmesh.instances.wire.codec import (
    dump_answer,
    dump_call,
    dump_failure,
    dump_invocation,
    dump_result,
    load_answer,
    load_call,
    load_failure,
    load_invocation,
    load_result,
)
from eventmesh.instances.wire.frames import FrameError
from eventmesh.model.errors import (
    AccessDenied,
    FunctionError,
    PartialFailure,
    PayloadInvalid,
    Problem,
    Reject,
    RetryLater,
    Throttled,
)
from eventmesh.model.invocation import Batch, HttpRequest, Invocation, RouteTemplate
from eventmesh.model.message import Message
from eventmesh.model.result import Result

HTTP = HttpRequest(
    RouteTemplate("POST /orders/{id}", ("id",), has_body=True),
    "POST",
    "/orders/7?a=1&a=2",
    {"id": "7"},
    {"a": ["1", "2"]},
    CIMultiDict([("X-A", "1"), ("x-a", "2"), ("Content-Type", "application/json")]),
    "10.0.0.1",
)

FULL = Invocation(
    function="orders.place",
    id="an id",
    payload=b'{"item": "tea"}',
    created=1.5,
    mode="sync",
    content_type="application/x-own",
    headers={"traceparent": "00-…"},
    trigger="http",
    attempt=3,
    deadline=99.5,
    caller="shop.buy",
    type="order.placed",
    http=HTTP,
    principal="token:ci",
    redeliveries=2,
    wants_stream=True,
)


def carried(invocation):
    head, body = dump_invocation(invocation)
    return load_invocation(orjson.dumps(head), body)


def test_every_field_of_an_invocation_arrives():
    arrived = carried(FULL)
    left_behind = {"batch", "delivery", "claim", "log_tail"}
    unlike_default = [each.name for each in fields(Invocation) if each.name not in left_behind]
    for name in unlike_default:
        assert getattr(arrived, name) == getattr(FULL, name), name
        assert getattr(FULL, name) not in (None, "", 0, False), f"{name} shows nothing here"
    assert arrived.http.headers.getall("X-A") == ["1", "2"]
    assert arrived.http.headers["content-TYPE"] == "application/json"


@pytest.mark.parametrize("bodies", [[], [b""], [b"a", b"", b"bcd"]])
def test_a_batch_arrives(bodies):
    arrived = carried(replace(FULL, payload=b"", http=None, batch=Batch(bodies)))
    assert list(arrived.batch.bodies) == bodies


@pytest.mark.parametrize(
    "result",
    [
        Result(b"7"),
        Result(b"x", content_type="text/plain", status=201, headers={"Set-Cookie": ["a", "b"]}),
        Result(b"", error=FunctionError("ValueError", "no", "Traceback …")),
        Result(b"", error=Throttled("full", 2.5)),
        Result(b"", error=AccessDenied("no")),
    ],
)
def test_a_result_arrives(result):
    head, body = dump_result(result, None)
    arrived, streams = load_result(orjson.dumps(head), body, None)
    assert not streams
    assert repr(arrived) == repr(result)
    assert arrived.body == result.body


def test_failures_of_a_batch_arrive():
    sent, received = Batch([b"1", b"2", b"3"]), Batch([b"1", b"2", b"3"])
    sent.invalid[1] = PayloadInvalid("no", [{"loc": ("a",), "msg": "bad", "type": "t"}])
    result = Result(failures={1: sent.invalid[1], 2: Reject("never")})
    head, body = dump_result(result, sent)
    arrived, _ = load_result(orjson.dumps(head), body, received)
    assert isinstance(arrived.failures[2], Reject)
    assert isinstance(received.invalid[1], PayloadInvalid)
    assert str(received.invalid[1]) == str(sent.invalid[1])


@pytest.mark.parametrize(
    "signal",
    [
        RetryLater(2.5, "soon"),
        RetryLater(),
        Reject("why"),
        Problem(409, "sold out", title="Gone", type="urn:x", headers={"A": "b"}, item="tea"),
    ],
)
def test_a_signal_arrives(signal):
    arrived = load_failure(orjson.loads(orjson.dumps(dump_failure(signal))))
    assert type(arrived) is type(signal)
    assert vars(arrived) == vars(signal)


def test_a_partial_failure_arrives():
    failure = PartialFailure({0: "bad", 2: ValueError("worse")})
    arrived = load_failure(orjson.loads(orjson.dumps(dump_failure(failure), option=4)))
    assert arrived.failures == {0: "bad", 2: "ValueError: worse"}


def good_result(**changes):
    head = {"content_type": "a/b", "status": 0, "headers": {}, "stream": False}
    return orjson.dumps(head | changes)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"7",
        b"{}",
        good_result(status=100),
        good_result(status=7),
        good_result(status="200"[:0]),
        good_result(headers={"a": 1}),
        good_result(headers=[["a", "b"]]),
        good_result(more=1),
        good_result(failures=[[3, {}]]),
        good_result(failures=[[-1, {}]]),
        good_result(invalid=[[9, {}]]),
        good_result(error=7),
        good_result(error={"signal": "unknown"}),
        good_result(error={"signal": "retry", "after": -1, "reason": ""}),
        good_result(error={"signal": "problem", "status": 200}),
    ],
)
def test_a_result_that_is_none_is_refused(head):
    with pytest.raises(FrameError):
        load_result(head, b"", Batch([b"1"]))


def test_a_failure_of_no_known_kind_is_a_failure_of_the_function():
    arrived, _ = load_result(good_result(error={"code": "x", "message": "m"}), b"", None)
    assert isinstance(arrived.error, FunctionError)


def test_a_call_says_what_it_wants_and_not_who_calls():
    message = Message(
        b"{}",
        "an id",
        10.0,
        headers={"a": "b"},
        deadline=12.5,
        caller="forged.name",
        principal="forged",
        type="a.b",
    )
    head, body = dump_call("send", "mailer.send", message, run=3, delay=1.5, now=11.0)
    assert "forged" not in repr(head)
    call = load_call(orjson.dumps(head))
    assert (call.run, call.operation, call.target, call.delay) == (3, "send", "mailer.send", 1.5)
    assert (call.timeout, call.headers, call.id, body) == (1.5, {"a": "b"}, "an id", b"{}")


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "redrive"},
        {"id": ""},
        {"id": "x" * 256},
        {"delay": -1},
        {"delay": "NaN"},
        {"timeout": "soon"},
        {"headers": {"a": 7}},
        {"caller": "orders.place"},
        {"run": "x"},
    ],
)
def test_a_call_that_is_none_is_refused(change):
    message = Message(b"", "an id", 10.0)
    head, _ = dump_call("send", "mailer.send", message, run=3, delay=0.0, now=11.0)
    with pytest.raises(FrameError):
        load_call(orjson.dumps(head | change))


def test_the_outcome_of_a_call_arrives():
    for outcome in (None, Throttled("full"), Result(b"7"), Result(b"", error=AccessDenied("no"))):
        head, body = dump_answer(outcome)
        assert repr(load_answer(orjson.dumps(head), body)) == repr(outcome)
