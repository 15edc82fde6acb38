"""Property lists that nobody sends by mistake: a ValueError or a message, and soon."""

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands

from eventmesh.brokers.rabbitmq.amqp.properties import (
    Received,
    decode_properties,
    encode_properties,
    encode_user,
)
from eventmesh.testing.clock import ManualClock

FULL = commands.Basic.Properties(
    content_type="application/json",
    content_encoding="gzip",
    headers={"text": "a", "number": 5, "table": {"x": [1, 2, None]}, "em-time": 2.5},
    delivery_mode=2,
    priority=3,
    correlation_id="c",
    reply_to="r",
    expiration="60",
    message_id="m",
    message_type="t",
    user_id="u",
    app_id="a",
).marshal()


def try_to_decode(properties):
    """What is read of any bytes; raises nothing but ValueError."""
    try:
        return decode_properties(properties, b"", ManualClock(1.0), redelivered=False)
    except ValueError:
        return None


def table(entries):
    return b"\x20\0" + len(entries).to_bytes(4, "big") + entries


@given(st.binary(max_size=300))
def test_any_bytes_at_all(properties):
    received = try_to_decode(properties)
    assert received is None or isinstance(received, Received)


@given(st.binary(max_size=200))
def test_any_bytes_in_a_header_table(entries):
    received = try_to_decode(table(entries))
    assert received is None or isinstance(received, Received)


@given(st.integers(0, len(FULL) - 1), st.integers(0, 255))
def test_any_changed_byte(place, byte):
    changed = bytearray(FULL)
    changed[place] = byte
    received = try_to_decode(bytes(changed))
    assert received is None or isinstance(received, Received)


SHORT = st.binary(max_size=255).map(lambda text: bytes((len(text),)) + text)
NAME = st.binary(max_size=254).map(lambda text: bytes((len(text) + 1,)) + b"h" + text)


@given(
    SHORT,
    NAME,
    *[SHORT] * 6,
    st.sampled_from([b"l", b"L", b"T"]),
    st.binary(min_size=8, max_size=8),
)
@example(*[b"\xff" * 256] * 8, b"L", b"\x7f" + b"\xff" * 7)
def test_whatever_is_read_can_be_written_again(
    content_type, name, correlation_id, reply_to, id, type, user_id, caller, kind, number
):
    headers = b"".join((name, b"t\1\x0aem-attempt", kind, number))
    texts = (correlation_id, reply_to, id, type, user_id, caller)
    properties = b"".join((b"\xa6\xb8", content_type, table(headers)[2:], *texts))
    message = try_to_decode(properties).message
    written = encode_properties(message, durable=True, user=encode_user(message.sender))
    assert try_to_decode(written).message == message


@pytest.mark.parametrize("length", range(len(FULL)))
def test_every_truncation_is_refused(length):
    with pytest.raises(ValueError, match="end"):
        decode_properties(FULL[:length], b"", ManualClock(1.0), redelivered=False)


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (b"", "ends early"),
        (b"\x80", "ends early"),
        (b"\x80\x01\x01a", "more property flags"),
        (b"\x80\0", "ends early"),
        (b"\x80\0\x05a", "over the end"),
        (b"\0\x40\0", "ends early"),
        (b"\x20\0\0\0", "ends early"),
        (b"\x20\0\xff\xff\xff\xff", "over the end"),
        (table(b"\x01"), "over the end"),
        (table(b"\x01h"), "ends early"),
        (table(b"\x01hS\0\0"), "ends early"),
        (table(b"\x01hS\xff\xff\xff\xffa"), "over the end"),
        (table(b"\x01hA\xff\xff\xff\xff"), "over the end"),
        (table(b"\x01hd\0"), "ends early"),
        (table(b"\x01hD\0"), "ends early"),
        (table(b"\x01h?"), "unknown type, 63"),
    ],
)
def test_the_reason_is_said(properties, reason):
    with pytest.raises(ValueError, match=reason):
        decode_properties(properties, b"", ManualClock(1.0), redelivered=False)


def test_an_entry_does_not_reach_into_what_follows_its_table():
    # The table says that it has 7 bytes; its one entry has a text of 4, of which 1 is in it.
    properties = b"\x20\x80\0\0\0\x08\x01hS\0\0\0\x04abcd\x01m"
    with pytest.raises(ValueError, match="over the end of its table"):
        decode_properties(properties, b"", ManualClock(1.0), redelivered=False)


def nested(kind, depth):
    """Tables, or arrays, one in the other; as deep as a frame has room for."""
    entry = b""
    for _ in range(depth):
        name = b"\x00" if kind == b"F" else b""
        entry = name + kind + len(entry).to_bytes(4, "big") + entry
    return entry


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_tables_in_tables_without_end_are_passed_over(kind):
    inner = nested(kind, 20_000)
    properties = table(b"\x01h" + kind + len(inner).to_bytes(4, "big") + inner + b"\x01gt\1")
    assert try_to_decode(properties).message.headers == {"g": "true"}


@pytest.mark.parametrize(("entry", "kept"), [(b"\0V", 0), (b"\x01ht\1", 1), (b"\x01hA\0\0\0\0", 0)])
def test_a_table_full_of_the_smallest_entries_costs_no_more_than_its_size(entry, kept):
    properties = table(entry * (128 * 1024 // len(entry)))
    tracemalloc.start()
    try:
        message = try_to_decode(properties).message
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(message.headers) == kept
    assert peak < 10 * len(properties)
