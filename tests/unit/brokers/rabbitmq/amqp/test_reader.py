"""Frames found in a stream of bytes, however it is cut up."""

import tracemalloc
from contextlib import suppress
from itertools import pairwise

import pytest
from fake_rabbitmq import content, delivery
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame, heartbeat

from eventmesh.brokers.rabbitmq.amqp import frames
from eventmesh.brokers.rabbitmq.amqp.reader import FrameReader

FRAME_MAX = 4096
PIECE = FRAME_MAX - frames.OVERHEAD
BODIES = [b"", b"a", b"b" * 200, b"c" * PIECE, b"d" * (PIECE + 1), b"e" * (3 * PIECE + 7)]


def recorded():
    """What a broker sends: all kinds of frames, and contents of all sizes, on two channels."""
    parts = [
        content(
            number,
            commands.Basic.Deliver("c1.0", tag, False, "", "q"),
            payload,
            commands.Basic.Properties(message_id=f"m{tag}", headers={"a": "b"}),
            FRAME_MAX,
        )
        for number in (1, 2)
        for tag, payload in enumerate(BODIES, start=1)
    ]
    confirms = [
        frame.marshal(value, 2) for value in (commands.Basic.Ack(1), commands.Basic.Nack(3, True))
    ]
    parts += [frame.marshal(heartbeat.Heartbeat(), 0), *confirms, delivery(1, "c1.0", 7)]
    return b"".join(parts)


STREAM = recorded()


def frames_of(chunks):
    reader = FrameReader(FRAME_MAX)
    return [one for chunk in chunks for one in reader.feed(chunk)]


WHOLE = frames_of([STREAM])


def cut(places):
    places = sorted({0, len(STREAM), *places})
    return [STREAM[start:end] for start, end in pairwise(places)]


def test_a_whole_stream_is_all_of_its_frames():
    assert sum(len(payload) + frames.OVERHEAD for _, _, payload in WHOLE) == len(STREAM)
    assert {kind for kind, _, _ in WHOLE} == {1, 2, 3, 8}
    assert {number for _, number, _ in WHOLE} == {0, 1, 2}


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=60))
def test_every_way_to_cut_a_stream_gives_the_same_frames(places):
    assert frames_of(cut(places)) == WHOLE


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 9, 13, 1000, FRAME_MAX, FRAME_MAX + 1])
def test_chunks_of_one_size_give_the_same_frames(size):
    assert frames_of(cut(range(0, len(STREAM), size))) == WHOLE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x01\0\x01\0\0\0\x01x!", "does not end with a frame-end"),
        (b"\x01\0\x01\0\x10\0\0.", r"1,048,584 bytes, and at most 4,096 are"),
        (b"\x01\0\x01\0\0\x0f\xf9.", r"4,097 bytes, and at most 4,096 are"),
        (b"HTTP/1.1 400 Bad Request\r\n", "bytes, and at most 4,096 are"),
        (b"AMQP\0\1\0\0", "speaks AMQP 1.0.0 instead of 0.9.1"),
        (b"\x15\x03\x03\0\x02\x02\x50\0\0", "does not end with a frame-end|bytes, and"),
    ],
)
def test_what_is_no_frame_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        frames_of([data])
    with pytest.raises(ValueError, match=reason):
        frames_of([data[index : index + 1] for index in range(len(data))])


def test_the_largest_frame_that_was_agreed_on_is_taken():
    payload = bytes(PIECE)
    data = b"\x03\0\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce"
    assert frames_of([data]) == [(3, 1, payload)]


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_garbage_ends_in_an_error_or_is_a_frame_or_waits(chunks):
    reader = FrameReader(FRAME_MAX)
    with suppress(ValueError):
        for chunk in chunks:
            assert all(len(payload) <= PIECE for _, _, payload in reader.feed(chunk))


def test_an_unfinished_frame_is_kept_once():
    """However many pieces it comes in: joining them anew for each would be quadratic."""
    size = 1 << 20
    reader = FrameReader(size + frames.OVERHEAD)
    data = b"\x03\0\x01" + size.to_bytes(4, "big") + bytes(size) + b"\xce"
    chunks = [data[start : start + 1024] for start in range(0, len(data), 1024)]
    tracemalloc.start()
    try:
        for chunk in chunks[:-1]:
            assert list(reader.feed(chunk)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The chunks are there already; what comes with them is the list of them.
    assert peak < size / 10
    assert list(reader.feed(chunks[-1])) == [(3, 1, bytes(size))]
