"""Messages as properties: what goes out comes back, and pamqp reads and writes the same."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, header

from eventmesh.brokers.rabbitmq.amqp.headers import UNREADABLE
from eventmesh.brokers.rabbitmq.amqp.properties import (
    decode_properties,
    encode_properties,
    receive,
)
from eventmesh.model.message import JSON, Message
from eventmesh.testing.clock import ManualClock

NOW = 1_700_000_000.25
RESERVED = {
    "em-attempt",
    "em-trigger",
    "em-time",
    "em-timeout",
    "em-principal",
    "em-redeliveries",
    "CC",
    "BCC",
    "x-acquired-count",
    "x-delivery-count",
}

TEXT = st.text(st.characters(codec="utf-8"), max_size=200)
SHORT = st.text(st.characters(codec="utf-8"), max_size=60)
NAMED = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
MOMENT = st.floats(1, 4e9)
MESSAGES = st.builds(
    Message,
    st.binary(max_size=50),
    id=NAMED,
    timestamp=MOMENT,
    content_type=NAMED,
    headers=st.dictionaries(SHORT.filter(lambda name: name not in RESERVED), TEXT, max_size=5),
    trigger=SHORT,
    attempt=st.integers(1, 2**31 - 1),
    caller=SHORT,
    type=SHORT,
    reply_to=SHORT,
    correlation_id=SHORT,
    principal=TEXT,
    redeliveries=st.integers(0, 2**31 - 1),
)


def decoded(properties, body=b"", *, redelivered=False):
    return decode_properties(properties, body, ManualClock(NOW), redelivered=redelivered)


def by_pamqp(**properties):
    """What another client sends: the list of its properties."""
    return commands.Basic.Properties(**properties).marshal()


def read_by_pamqp(properties):
    frame = header.ContentHeader()
    frame.unmarshal(b"\0\x3c\0\0" + bytes(8) + properties)
    return frame.properties


@given(MESSAGES, st.booleans(), st.none() | st.integers(0, 2**32 - 1))
def test_what_is_sent_is_what_comes(message, durable, expiration):
    properties = encode_properties(message, durable=durable, expiration=expiration)
    left = None if expiration is None else NOW + expiration / 1000
    received = decoded(properties, message.body)
    assert received == (replace(message, deadline=left), (message.redeliveries, 0))


@given(MESSAGES, st.booleans(), st.none() | st.integers(0, 2**32 - 1))
def test_pamqp_reads_what_is_sent(message, durable, expiration):
    read = read_by_pamqp(encode_properties(message, durable=durable, expiration=expiration))
    assert read.message_id == message.id
    assert read.content_type == message.content_type
    assert read.timestamp == datetime.fromtimestamp(int(message.timestamp), UTC)
    assert read.delivery_mode == (2 if durable else 1)
    assert read.expiration == (None if expiration is None else str(expiration))
    assert (read.app_id or "") == message.caller
    assert (read.message_type or "") == message.type
    assert (read.reply_to or "") == message.reply_to
    assert (read.correlation_id or "") == message.correlation_id
    assert read.headers.items() >= message.headers.items()
    assert read.headers["em-time"] == message.timestamp
    left = None if expiration is None else expiration / 1000
    assert read.headers.get("em-timeout") == left
    assert read.headers.get("em-attempt", 1) == message.attempt
    assert read.headers.get("em-trigger", "invoke") == message.trigger
    assert read.headers.get("em-principal", "") == message.principal


DATES = st.integers(1, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)  # pamqp has no way to say that a number is a double.
    | TEXT
    | st.none()
    | st.binary(max_size=20).map(bytearray)
    | DATES
    | st.decimals(-1000, 1000, places=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": NAMED,
            "content_encoding": NAMED,
            "headers": st.dictionaries(
                SHORT.filter(lambda name: name not in RESERVED), VALUES, max_size=6
            ),
            "delivery_mode": st.sampled_from((1, 2)),
            "priority": st.integers(1, 255),
            "correlation_id": NAMED,
            "reply_to": NAMED,
            "expiration": st.integers(0, 10**6).map(str),
            "message_id": NAMED,
            "timestamp": DATES,
            "message_type": NAMED,
            "user_id": NAMED,
            "app_id": NAMED,
        },
    )
)
def test_any_properties_of_another_client_are_read(properties):
    message = decoded(by_pamqp(**properties)).message
    headers = properties.get("headers", {})
    assert message.content_type == properties.get("content_type", JSON)
    assert message.correlation_id == properties.get("correlation_id", "")
    assert message.reply_to == properties.get("reply_to", "")
    assert message.type == properties.get("message_type", "")
    assert message.caller == properties.get("app_id", "")
    assert message.id == properties["message_id"] if "message_id" in properties else message.id
    if "timestamp" in properties:
        assert message.timestamp == int(properties["timestamp"].timestamp())
    else:
        assert message.timestamp == NOW
    expected = {name for name, value in headers.items() if not _is_left_out(value)}
    assert message.headers.keys() == expected
    texts = {name: value for name, value in headers.items() if isinstance(value, str)}
    assert message.headers.items() >= texts.items()


def _is_left_out(value):
    return value is None or isinstance(value, (dict, list, bytearray))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-5, "-5"),
        (300, "300"),
        (70_000, "70000"),
        (2**40, str(2**40)),
        (1.5, "1.5"),
        (Decimal("12.345"), "12.345"),
        (Decimal("-0.5"), "-0.5"),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), "1700000000"),
        ("text", "text"),
        ("", ""),
    ],
)
def test_a_header_of_any_simple_kind_becomes_text(value, text):
    assert decoded(by_pamqp(headers={"x": value})).message.headers == {"x": text}


def test_every_kind_of_number_is_read():
    # Kinds and values as in https://www.rabbitmq.com/amqp-0-9-1-errata, section 3.
    entries = {
        b"t\x01": "true",
        b"b\xff": "-1",
        b"B\xff": "255",
        b"s\xff\xff": "-1",
        b"u\xff\xff": "65535",
        b"I\xff\xff\xff\xff": "-1",
        b"i\xff\xff\xff\xff": "4294967295",
        b"l" + b"\xff" * 8: "-1",
        b"L" + b"\xff" * 8: "-1",
        b"f\x3f\x80\0\0": "1.0",
        b"d\x3f\xf0" + bytes(6): "1.0",
        b"T\0\0\0\0\0\0\0\x05": "5",
        b"D\x02\0\0\x01\0": "2.56",
    }
    for entry, text in entries.items():
        assert decoded(table(b"\x01h" + entry)).message.headers == {"h": text}
    for void in (b"V", b"\0"):
        assert decoded(table(b"\x01h" + void + b"\x01gt\0")).message.headers == {"g": "false"}


def table(entries):
    return b"\x20\0" + len(entries).to_bytes(4, "big") + entries


def test_a_message_without_properties_gets_likely_ones():
    first, second = decoded(b"\0\0", b"[]").message, decoded(b"\0\0").message
    assert len(first.id) == 32
    assert first.id != second.id
    assert replace(first, id="x") == Message(b"[]", "x", NOW)


@pytest.mark.parametrize(
    ("headers", "redelivered", "counts"),
    [
        ({}, False, (0, 0)),
        ({}, True, (1, 1)),
        ({"x-delivery-count": 3}, True, (3, 3)),
        ({"x-delivery-count": -3}, False, (0, 0)),
        ({"x-delivery-count": "3"}, True, (1, 1)),
        ({"x-acquired-count": 5}, True, (5, 0)),
        ({"x-acquired-count": 5, "x-delivery-count": 2}, True, (5, 2)),
        ({"em-redeliveries": 11}, False, (11, 0)),
        ({"em-redeliveries": 11, "x-delivery-count": 3}, True, (14, 3)),
        ({"em-redeliveries": 11, "x-acquired-count": 3}, True, (14, 0)),
        ({"em-redeliveries": -11}, True, (1, 1)),
        ({"em-redeliveries": 2**40, "x-delivery-count": 3}, True, (2**31 - 1, 3)),
    ],
)
def test_a_quorum_queue_counts_deliveries_and_a_classic_one_says_yes(headers, redelivered, counts):
    """RabbitMQ counts losses in x-delivery-count: up to 4.2 with requeues, from 4.3 without."""
    received = decoded(by_pamqp(headers=headers), redelivered=redelivered)
    assert received.counts == counts


def test_what_the_broker_notes_of_the_way_is_no_header_of_the_message():
    notes = {"x-first-death-queue": "em.delay.3", "x-last-death-reason": "expired"}
    message = decoded(by_pamqp(headers=notes | {"x-acquired-count": 2, "mine": "1"})).message
    assert message.headers == {"mine": "1"}


@pytest.mark.parametrize(
    ("moment", "timestamp"),
    [
        (1_600_000_000_000, 1_600_000_000.0),  # Milliseconds, as some clients have it.
        (2**64 - 1, NOW),
        (0, NOW),
    ],
)
def test_a_timestamp_that_cannot_be_one_is_not_taken(moment, timestamp):
    properties = b"\0\x40" + moment.to_bytes(8, "big")
    assert decoded(properties).message.timestamp == timestamp


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, -1.0, 1e300, 253_402_300_799_000.0]
)
def test_a_time_that_is_none_is_not_taken(number):
    assert decoded(table(b"\x07em-timed" + pack(">d", number))).message.timestamp == NOW


@pytest.mark.parametrize("skew", [-35.0, 0.0, 35.0])
def test_no_clock_of_another_host_counts(skew):
    """What RabbitMQ has delivered has not expired: all the time is left that was left."""
    sender, receiver = ManualClock(NOW + skew), ManualClock(NOW)
    message = Message(b"", "a", sender.now(), deadline=sender.monotonic() + 30)
    properties = encode_properties(message, durable=False, expiration=30_000)
    read = decode_properties(properties, b"", receiver, redelivered=False).message
    assert read.deadline == receiver.monotonic() + 30


def test_the_expiration_of_another_system_is_no_deadline():
    assert decoded(by_pamqp(expiration="1000")).message.deadline is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_timeout_that_is_none_is_not_taken(number):
    entry = b"\x0aem-timeoutd" + pack(">d", number)
    assert decoded(table(entry)).message.deadline is None


@pytest.mark.parametrize(
    ("sent", "attempt"),
    [(7, 7), (0, 1), (-2, 1), ("7", 1), (2.5, 1), (2**31, 2**31 - 1), (2**63 - 1, 2**31 - 1)],
)
def test_an_attempt_counts_from_one_and_can_be_written_again(sent, attempt):
    message = decoded(by_pamqp(headers={"em-attempt": sent})).message
    assert message.attempt == attempt
    assert decoded(encode_properties(message, durable=True)).message.attempt == attempt


def test_headers_named_like_eventmesh_own_do_not_pass_for_them():
    names = RESERVED | {"CC", "BCC"}
    disguised = Message(b"", "x", NOW, headers=dict.fromkeys(names, "9") | {"y": "1"})
    message = decoded(encode_properties(disguised, durable=True)).message
    assert (message.attempt, message.trigger, message.timestamp) == (1, "invoke", NOW)
    assert message.headers == {"y": "1", "x-delivery-count": "9"}


def test_ids_that_are_no_text_go_back_byte_for_byte():
    properties = b"\x06\0\x02\xff\xfe\x03q\x80q"
    asked = decoded(properties).message
    answer = Message(b"", "x", NOW, reply_to=asked.reply_to, correlation_id=asked.correlation_id)
    assert b"\x02\xff\xfe\x03q\x80q" in encode_properties(answer, durable=False)


def test_other_bytes_that_are_no_text_are_shown_as_such():
    message = decoded(b"\x80\x80\x02\xff\xfe\x01\xff").message
    assert (message.content_type, message.id) == ("\ufffd\ufffd", "\ufffd")
    message.id.encode()


@pytest.mark.parametrize(
    "field", ["id", "content_type", "type", "caller", "reply_to", "correlation_id"]
)
def test_a_property_that_is_too_long_is_refused(field):
    fits, too_long = "ä" * 127, "ä" * 128
    message = Message(b"", "x", NOW)
    assert encode_properties(replace(message, **{field: fits}), durable=True)
    with pytest.raises(ValueError, match="256 bytes, a short string has 255 at most"):
        encode_properties(replace(message, **{field: too_long}), durable=True)


@pytest.mark.parametrize("number", [{"attempt": 2**31}, {"timestamp": math.inf}])
def test_a_number_that_does_not_fit_is_refused(number):
    with pytest.raises(ValueError, match="does not fit"):
        encode_properties(replace(Message(b"", "x", NOW), **number), durable=True)


def test_a_header_name_that_is_too_long_is_refused_and_a_long_value_is_not():
    with pytest.raises(ValueError, match="255 at most"):
        encode_properties(Message(b"", "x", NOW, headers={"n" * 256: ""}), durable=True)
    message = Message(b"", "x", NOW, headers={"n": "v" * 100_000, "broken": "\ud800"})
    read = decoded(encode_properties(message, durable=True)).message.headers
    assert read == {"n": "v" * 100_000, "broken": "?"}


def test_a_message_whose_properties_cannot_be_read_is_received_all_the_same(caplog):
    message, counts = receive(b"\x80\0\x09short", b"[1]", ManualClock(NOW), redelivered=True)
    assert (message.body, message.timestamp, counts) == (b"[1]", NOW, (1, 1))
    assert len(message.id) == 32
    assert "goes over the end" in message.headers[UNREADABLE]
    assert "properties that cannot be read" in caplog.text
