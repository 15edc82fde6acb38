"""What becomes of an invocation, by how it ended, its attempt and its age."""

import pytest

from eventmesh.brokers.rabbitmq.amqp.frames import HEADER_OVERHEAD, SIZE_MIN
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.engine.settlement import (
    BROKER_PAUSE,
    DEAD_LETTER_HEADERS,
    ERROR_MESSAGE,
    ERROR_TYPE,
    FIRST_FAILURE,
    FUNCTION,
    LAST_FAILURE,
    MAX_CRASHES,
    MAX_HAND_BACKS,
    MAX_REASON,
    MAX_TRACEBACK,
    REASON,
    TRACEBACK,
    Ack,
    MoveToDeadLetters,
    ScheduleRetry,
    build_retry,
    dead_letter,
    decide_refusal,
    decide_settlement,
    reset_for_redrive,
    truncated,
    without_provenance,
)
from eventmesh.model.broker import MAX_HEADERS_BYTES
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionError,
    FunctionNotFound,
    InvocationTimeout,
    PartialFailure,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    Reject,
    RetryLater,
    Throttled,
)
from eventmesh.model.message import Message
from eventmesh.model.retry import Retry

# The waits are 10, 20 and 40 s.
RETRY = Retry(4, initial=10, factor=2, jitter="none", max_age=1000)
BROKEN = FunctionError("ValueError", "no such thing", "Traceback …")
MESSAGE = Message(b'{"n": 1}', "a-1", 100.0, headers={"team": "blue"}, trigger="event", attempt=2)


@pytest.mark.parametrize(
    "error",
    [
        BROKEN,
        InvocationTimeout("too slow"),
        FunctionNotFound("a.b"),
        RetryLater(),
        Problem(404),
        PartialFailure({0: "x"}),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(("attempt", "wait"), [(1, 10.0), (2, 20.0), (3, 40.0)])
def test_a_failure_is_tried_again_after_the_policys_wait(error, attempt, wait):
    assert decide_settlement(error, attempt, 0.0, RETRY) == ScheduleRetry(wait)


@pytest.mark.parametrize("error", [BROKEN, RetryLater(), RetryLater(after=5)], ids=repr)
@pytest.mark.parametrize("attempt", [4, 5, 100])
def test_the_last_attempt_is_the_last(error, attempt):
    assert decide_settlement(error, attempt, 0.0, RETRY) == MoveToDeadLetters(
        "all 4 attempts failed"
    )


def test_success_is_acknowledged():
    assert decide_settlement(None, 1, 0.0, RETRY) == Ack()
    assert decide_settlement(None, 99, 1e9, RETRY) == Ack()


@pytest.mark.parametrize("after", [0, 0.5, 3600.0])
def test_the_handler_may_say_when_to_come_again(after):
    settlement = decide_settlement(RetryLater(after=after), 1, 0.0, Retry(2))
    assert settlement == ScheduleRetry(float(after))
    assert isinstance(settlement.delay, float)


@pytest.mark.parametrize("attempt", [1, 4, 100])
@pytest.mark.parametrize(
    ("error", "wait"),
    [(Throttled("full", 2.5), 2.5), (BrokerUnavailable("away"), BROKER_PAUSE)],
    ids=["throttled", "unavailable"],
)
def test_what_was_kept_from_running_spends_no_attempt(error, wait, attempt):
    assert decide_settlement(error, attempt, 0.0, RETRY) == ScheduleRetry(wait, spent=False)


@pytest.mark.parametrize(
    "error",
    [
        Reject("it is fake"),
        PayloadInvalid("the payload does not fit"),
        PayloadTooLarge(2000, 1000),
        AccessDenied("it may not"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_get_better_is_dead_lettered_at_once(error):
    assert decide_settlement(error, 1, 0.0, RETRY) == MoveToDeadLetters(str(error))


def test_a_reason_that_is_no_text_is_written_as_one():
    assert decide_settlement(Reject(KeyError("colour")), 1, 0.0, RETRY) == MoveToDeadLetters(
        "'colour'"
    )


@pytest.mark.parametrize(
    "error",
    [BROKEN, RetryLater(after=10), Throttled("full", 10)],
    ids=lambda error: type(error).__name__,
)
def test_nothing_is_tried_again_when_it_will_be_too_old(error):
    assert isinstance(decide_settlement(error, 1, 990.0, RETRY), ScheduleRetry)
    assert decide_settlement(error, 1, 990.1, RETRY) == MoveToDeadLetters(
        "older than 1000 s before it succeeded"
    )


@pytest.mark.parametrize(
    ("losses", "age", "why"),
    [
        (0, 0.0, None),
        (0, -5.0, None),  # The clock of whoever sent it is ahead.
        (0, 1000.0, None),
        (0, 1000.1, "older than 1000 s before it was run"),
        (MAX_HAND_BACKS + MAX_CRASHES, 0.0, None),
        (31, 0.0, "delivered 32 times and never acknowledged: it kills its process"),
        (31, 2000.0, "delivered 32 times and never acknowledged: it kills its process"),
    ],
)
def test_what_is_too_old_or_kills_is_not_run(losses, age, why):
    assert decide_refusal(losses, age, RETRY) == (None if why is None else MoveToDeadLetters(why))


def test_the_next_attempt_is_the_same_message_with_one_more_attempt():
    again = build_retry(MESSAGE, ScheduleRetry(5.0), 150.0)
    assert again.attempt == 3
    assert again.headers == {"team": "blue", FIRST_FAILURE: "150.000"}
    assert (again.body, again.id, again.timestamp, again.trigger) == (
        MESSAGE.body,
        MESSAGE.id,
        MESSAGE.timestamp,
        MESSAGE.trigger,
    )
    later = build_retry(again, ScheduleRetry(5.0), 160.0)
    assert (later.attempt, later.headers[FIRST_FAILURE]) == (4, "150.000")
    assert MESSAGE.headers == {"team": "blue"}


def test_an_attempt_that_was_not_spent_does_not_count():
    assert build_retry(MESSAGE, ScheduleRetry(1.0, spent=False), 150.0).attempt == 2


def test_a_dead_letter_says_what_happened():
    dead = dead_letter(MESSAGE, "orders.place", BROKEN, "all 4 attempts failed", 150.0)
    assert dead.headers == {
        "team": "blue",
        FUNCTION: "orders.place",
        REASON: "all 4 attempts failed",
        ERROR_TYPE: "ValueError",
        ERROR_MESSAGE: "ValueError: no such thing",
        TRACEBACK: "Traceback …",
        FIRST_FAILURE: "150.000",
        LAST_FAILURE: "150.000",
    }
    assert (dead.body, dead.id, dead.attempt, dead.timestamp) == (MESSAGE.body, "a-1", 2, 100.0)


def test_a_dead_letter_keeps_when_it_first_failed():
    failed = build_retry(MESSAGE, ScheduleRetry(5.0), 150.0)
    dead = dead_letter(failed, "orders.place", BROKEN, "…", 160.0)
    assert (dead.headers[FIRST_FAILURE], dead.headers[LAST_FAILURE]) == ("150.000", "160.000")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Reject("it is fake"), "Reject"),
        (InvocationTimeout("too slow"), "timeout"),
        (PayloadInvalid("the payload does not fit"), "payload_invalid"),
    ],
)
def test_every_kind_of_error_has_a_type_and_a_message(error, kind):
    dead = dead_letter(MESSAGE, "orders.place", error, "…", 150.0)
    assert (dead.headers[ERROR_TYPE], dead.headers[ERROR_MESSAGE]) == (kind, str(error))


def test_a_dead_letter_without_an_error_has_a_reason_alone():
    headers = dead_letter(MESSAGE, "orders.place", None, "too old", 150.0).headers
    assert headers.keys() == {"team", FUNCTION, REASON, FIRST_FAILURE, LAST_FAILURE}


def test_the_headers_of_a_dead_letter_are_bounded():
    huge = "\N{GRINNING FACE}" * 1_000_000
    dead = dead_letter(MESSAGE, "orders.place", FunctionError(huge, huge, huge), huge, 150.0)
    for name, most in [
        (ERROR_TYPE, MAX_REASON),
        (ERROR_MESSAGE, MAX_REASON),
        (REASON, MAX_REASON),
        (TRACEBACK, MAX_TRACEBACK),
    ]:
        assert len(dead.headers[name]) <= most
    # With room for the user's own headers within a frame of 128 KiB.
    assert sum(len(text.encode()) for text in dead.headers.values()) < 100 * 1024


def test_text_that_utf_8_cannot_carry_is_written_as_an_escape():
    dead = dead_letter(MESSAGE, "orders.place", Reject("bad \udcff name"), "bad \udcff name", 150.0)
    assert dead.headers[REASON] == dead.headers[ERROR_MESSAGE] == "bad \\udcff name"


def test_of_a_dead_letter_that_is_refused_what_any_broker_takes_is_kept():
    wide = "\U0001f600"
    message = Message(
        b"{}",
        wide * 63,
        1_700_000_000.0,
        content_type=wide * 63,
        headers={"theirs": "x" * 200_000, FIRST_FAILURE: wide * 2000},
        trigger=wide * 2000,
        caller=wide * 63,
        type=wide * 63,
        reply_to=wide * 63,
        correlation_id=wide * 63,
        attempt=3,
    )
    function = f"{'s' * 63}.{'f' * 100}"
    dead = dead_letter(
        message, function, FunctionError(wide * 2000, ""), wide * 2000, 1_700_000_009.0
    )
    assert (dead.reply_to, dead.correlation_id) == ("", "")
    kept = truncated(dead, PayloadInvalid("it is odd"))
    assert (kept.id, kept.body, kept.attempt) == (message.id, b"{}", 3)
    assert kept.headers[FUNCTION] == function
    assert kept.headers[REASON].endswith("only a part of it could be stored: it is odd")
    assert len(encode_properties(kept, durable=True)) <= SIZE_MIN - HEADER_OVERHEAD
    assert truncated(dead, PayloadTooLarge(9, 8)).body == b""


def test_a_header_that_utf_8_cannot_carry_keeps_nothing_from_being_dead_lettered():
    own = {"baggage": "a=\udcff", "large": "\ud800" * MAX_HEADERS_BYTES}
    dead = dead_letter(Message(b"", "a", 1.0, headers=own), "a.b", BROKEN, "…", 150.0)
    assert dead.headers["baggage"] == "a=\udcff"
    assert "large" not in dead.headers


def test_a_redriven_message_is_as_if_it_was_new():
    dead = dead_letter(build_retry(MESSAGE, ScheduleRetry(5.0), 150.0), "a.b", BROKEN, "…", 160.0)
    fresh = reset_for_redrive(dead, 500.0)
    assert (fresh.attempt, fresh.timestamp, fresh.headers) == (1, 500.0, {"team": "blue"})
    assert (fresh.id, fresh.body, fresh.trigger) == ("a-1", MESSAGE.body, "event")


def test_provenance_is_all_that_is_taken_off():
    headers = dict.fromkeys(DEAD_LETTER_HEADERS, "x") | {"traceparent": "00-…"}
    assert without_provenance(headers) == {"traceparent": "00-…"}


def test_what_is_told_of_an_error_makes_room_for_the_headers_that_were_there():
    own = {"large": "ü" * 60 * 1024, "small": "y"}
    dead = dead_letter(Message(b"", "a", 1.0, headers=own), "app.work", Reject("x" * 3000), "r", 2)
    assert dead.headers.items() >= own.items()
    assert size(dead.headers) <= MAX_HEADERS_BYTES


def test_headers_that_leave_no_room_at_all_go_too():
    own = {"large": "x" * MAX_HEADERS_BYTES, "small": "y"}
    dead = dead_letter(Message(b"", "a", 1.0, headers=own), "app.work", Reject("no"), "r", 2)
    assert "large" not in dead.headers
    assert (dead.headers["small"], dead.headers[REASON]) == ("y", "r")
    assert size(dead.headers) <= MAX_HEADERS_BYTES


def size(headers):
    return sum(len(name.encode()) + len(text.encode()) for name, text in headers.items())
