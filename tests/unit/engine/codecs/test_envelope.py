import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.engine.codecs.envelope import (
    ERROR_TYPE,
    dump_error,
    invocation_from,
    load_error,
    outcome_record,
    reply_from,
    result_from,
    to_fault,
)
from eventmesh.engine.codecs.json import MAX_MESSAGE, MAX_TRACEBACK
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionError,
    FunctionNotFound,
    InvocationError,
    InvocationTimeout,
    PartialFailure,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    Reject,
    RetryLater,
    Throttled,
)
from eventmesh.model.message import JSON, Message
from eventmesh.model.result import Result

TEXT = st.text(max_size=50)
SECONDS = st.floats(0, 1e10)
REASONS = st.fixed_dictionaries(
    {"loc": st.lists(TEXT | st.integers(0, 1000)).map(tuple), "msg": TEXT, "type": TEXT}
)
ERRORS = st.one_of(
    st.builds(FunctionNotFound, TEXT, TEXT),
    st.builds(Throttled, TEXT, SECONDS),
    st.builds(InvocationTimeout, TEXT),
    st.builds(FunctionError, TEXT, TEXT, TEXT),
    st.builds(PayloadInvalid, TEXT, st.lists(REASONS)),
    st.builds(PayloadTooLarge, st.integers(0, 2**53), st.integers(0, 2**53), st.text(max_size=30)),
    st.builds(AccessDenied, TEXT),
    st.builds(BrokerUnavailable, TEXT),
)
ANY_TEXT = st.text() | st.text("a\udcff")  # os.fsdecode makes lone surrogates.
SIGNALS = st.one_of(
    st.builds(RetryLater, st.none() | SECONDS, ANY_TEXT),
    st.builds(Reject, ANY_TEXT),
    st.builds(PartialFailure, st.dictionaries(st.integers(0, 9), ANY_TEXT)),
    st.builds(Problem, st.integers(400, 599), ANY_TEXT),
)
HEADERS = st.dictionaries(TEXT, TEXT)
MESSAGES = st.builds(
    Message,
    body=st.binary(),
    id=TEXT,
    timestamp=SECONDS,
    content_type=TEXT,
    headers=HEADERS,
    trigger=TEXT,
    attempt=st.integers(1),
    deadline=st.none() | SECONDS,
    caller=TEXT,
    type=TEXT,
    reply_to=TEXT,
    correlation_id=TEXT,
)
REQUEST = Message(b"1", "id-1", 100.0, reply_to="q", correlation_id="c-1")


@given(MESSAGES, st.sampled_from(["sync", "async"]))
def test_an_invocation_has_all_that_its_message_says(message, mode):
    invocation = invocation_from(message, "a.b", mode)
    assert (invocation.function, invocation.mode) == ("a.b", mode)
    assert (invocation.payload, invocation.created) == (message.body, message.timestamp)
    shared = {field.name for field in fields(message)} & {
        field.name for field in fields(invocation)
    }
    assert shared >= {"id", "content_type", "headers", "trigger", "attempt", "deadline", "caller"}
    for name in shared:
        assert getattr(invocation, name) == getattr(message, name)


@given(st.binary(), TEXT)
def test_a_result_survives_its_reply(body, content_type):
    reply = reply_from(Result(body, content_type=content_type), REQUEST, 101.0)
    assert result_from(reply) == Result(body, content_type=content_type)


@given(ERRORS)
def test_every_kind_of_failure_survives_its_reply(error):
    reply = reply_from(Result(b"", error=error, content_type="text/plain"), REQUEST, 101.0)
    assert (reply.type, reply.content_type) == (ERROR_TYPE, JSON)
    twin = result_from(reply).error
    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)


def test_all_kinds_are_tried_above():
    kinds = {type(error) for error in map(load_error, ({"code": kind.code} for kind in known()))}
    assert kinds == set(known())


def known():
    return InvocationError.__subclasses__()


@given(SIGNALS)
def test_a_signal_is_a_fault_to_others(signal):
    error = load_error(json.loads(json.dumps(dump_error(signal))))
    assert type(error) is FunctionError
    assert error.type == type(signal).__name__
    assert isinstance(to_fault(signal), FunctionError)


@given(ERRORS)
def test_a_fault_is_itself(error):
    assert to_fault(error) is error


def test_a_reply_finds_its_way_back():
    reply = reply_from(Result(b"7"), REQUEST, 101.0)
    assert (reply.id, reply.correlation_id, reply.timestamp) == ("id-1", "c-1", 101.0)


@given(ANY_TEXT, ANY_TEXT)
def test_no_text_keeps_a_failure_from_being_told(message, place):
    for error in (
        FunctionError(message, message, message),
        FunctionNotFound(message, message),
        Throttled(message),
        AccessDenied(message),
        PayloadInvalid(message, [{"loc": (place,), "msg": message, "ctx": object()}]),
    ):
        reply = reply_from(Result(b"", error=error), REQUEST, 101.0)
        assert type(result_from(reply).error) is type(error)


def test_a_failure_is_told_in_bounded_size():
    error = FunctionError("E", "m" * 10**6, "t" * 10**6)
    told = dump_error(error)
    assert len(told["message"]) <= MAX_MESSAGE
    assert len(told["traceback"]) <= MAX_TRACEBACK


def test_a_kind_of_the_users_own_is_a_function_error_to_others():
    class QuotaExceeded(InvocationError):
        code = "quota_exceeded"

    twin = load_error(dump_error(QuotaExceeded("no more today")))
    assert type(twin) is FunctionError
    assert str(twin) == "QuotaExceeded: no more today"


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        "no",
        {"code": 7},
        {"code": "throttled", "retry_after": "soon"},
        {"code": "payload_invalid", "errors": [7]},
        {"code": "payload_too_large", "size": None},
    ],
)
def test_a_failure_that_cannot_be_read_is_one_all_the_same(fields):
    error = load_error(fields)
    assert type(error) is FunctionError
    assert "cannot be read" in str(error)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "Error"),
        ({"code": "new", "message": "of a later version"}, "Error: of a later version"),
        ({"code": "throttled", "message": "busy", "new": 1}, "busy; try again in 1 s"),
        (
            {"code": "payload_invalid", "message": "no", "errors": [{"msg": "bad"}]},
            "no: payload: bad",
        ),
    ],
)
def test_what_another_version_writes_is_read_as_far_as_it_goes(fields, expected):
    assert str(load_error(fields)) == expected


def test_a_reply_that_is_no_json_is_invalid():
    with pytest.raises(PayloadInvalid, match="the reply is not JSON"):
        result_from(Message(b"\xff", "id-1", 0.0, type=ERROR_TYPE))


def record(result, reason="", body=b"[1]"):
    request = Message(body, "id-1", 100.0, trigger="queue", attempt=3)
    return json.loads(outcome_record("a.b", request, result, reason, 1709208000.0))


def test_the_record_of_a_success():
    assert record(Result(b'{"total":7}')) == {
        "function": "a.b",
        "id": "id-1",
        "outcome": "success",
        "attempts": 3,
        "trigger": "queue",
        "time": "2024-02-29T12:00:00+00:00",
        "request": [1],
        "result": {"total": 7},
    }


def test_the_record_of_a_failure_has_no_traceback():
    told = record(
        Result(b"", error=FunctionError("E", "bad", "Traceback…")), "all 3 attempts failed"
    )
    assert (told["outcome"], told["reason"]) == ("failure", "all 3 attempts failed")
    assert told["error"] == {"code": "function_error", "type": "E", "message": "bad"}
    assert "result" not in told


def test_what_was_never_run_is_a_failure_without_an_error():
    told = record(Result(b""), "older than 60 s before it was run")
    assert (told["outcome"], told["error"]) == ("failure", {})


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", None),
        (b"text", "text"),
        (b"\xff", "�"),
        (str(2**70).encode(), 2**70),
        (b"[" * 500 + b"]" * 500, json.loads("[" * 500 + "]" * 500)),
    ],
)
def test_a_record_holds_any_request_and_result(body, shown):
    told = record(Result(body), body=body)
    assert told["request"] == told["result"] == shown


@given(SIGNALS)
def test_a_record_holds_any_reason(signal):
    told = record(Result(b"", error=signal), str(signal))
    assert told["outcome"] == "failure"
    assert told["reason"] == told["error"]["message"]
