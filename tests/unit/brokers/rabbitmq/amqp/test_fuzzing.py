"""Whatever comes, in any order: a connection goes on or ends with a reason, and stays small."""

import tracemalloc
from functools import partial

import pytest
from amqp_client import opened_client
from fake_rabbitmq import content, delivery
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header, heartbeat

from eventmesh.brokers.rabbitmq.amqp import connection as wire

NUMBERS = st.sampled_from([0, 1, 1, 1, 2, 65_535])
TAGS = st.sampled_from([0, 1, 2, 3, 2**63 - 1])
NAMES = st.sampled_from(["c1.0", "c1.1", ""])
METHODS = st.one_of(
    st.builds(commands.Basic.Deliver, NAMES, TAGS, st.booleans(), NAMES, NAMES),
    st.builds(commands.Basic.Ack, TAGS, st.booleans()),
    st.builds(commands.Basic.Nack, TAGS, st.booleans(), st.booleans()),
    st.builds(partial(commands.Basic.Return, 312, "NO_ROUTE", ""), st.sampled_from(["gone", ""])),
    st.builds(commands.Basic.Cancel, NAMES),
    st.builds(commands.Basic.CancelOk, NAMES),
    st.builds(commands.Basic.ConsumeOk, NAMES),
    st.builds(commands.Channel.Flow, st.booleans()),
    st.builds(commands.Connection.Blocked, NAMES),
    st.sampled_from(
        [
            commands.Basic.QosOk(),
            commands.Channel.OpenOk(),
            commands.Channel.CloseOk(),
            commands.Channel.Close(404, "NOT_FOUND", 60, 40),
            commands.Connection.Unblocked(),
            commands.Connection.OpenOk(),
            commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0),
        ]
    ),
)
OTHERS = st.one_of(
    st.builds(lambda size: header.ContentHeader(body_size=size), st.sampled_from([0, 3, 6, 2**64])),
    st.builds(body.ContentBody, st.sampled_from([b"", b"abc", b"abcdef", bytes(4089)])),
    st.just(heartbeat.Heartbeat()),
)
SIZES = st.sampled_from([None, 0, 1, 2**31, 2**32 - 1])


@st.composite
def one_frame(draw):
    """A frame that is well formed, or says another size than it has."""
    value = draw(METHODS | OTHERS)
    if isinstance(value, header.ContentHeader):
        size = min(value.body_size, 2**64 - 1).to_bytes(8, "big")
        payload = b"\0\x3c\0\0" + size + b"\0\0"
        data = b"\x02" + draw(NUMBERS).to_bytes(2, "big") + b"\0\0\0\x0e" + payload + b"\xce"
    else:
        data = frame.marshal(value, draw(NUMBERS))
    size = draw(SIZES) if draw(st.integers(0, 15)) == 0 else None
    return data if size is None else data[:3] + size.to_bytes(4, "big") + data[7:]


@given(st.lists(one_frame(), max_size=30), st.integers(1, 5000))
async def test_any_frames_in_any_order_in_chunks_of_any_size(parts, chunk):
    data = b"".join(parts)
    async with opened_client() as client:
        futures = [client.publish(id) for id in "abc"]
        for start in range(0, len(data), chunk):
            client.feed(data[start : start + chunk])
        assert client.end != ""
        assert (client.end is not None) == (client.socket.aborted or client.socket.closed)
    assert all(future.done() for future in futures)
    assert all(len(taken[2]) in {0, 3, 6} for taken in client.taken)


@pytest.mark.parametrize("length", [1, 7, 8, 30])
async def test_a_stream_that_stops_in_a_frame_waits_and_gives_nothing(length):
    data = delivery(1, "c1.0", 1, b"x" * 100)
    async with opened_client() as client:
        client.feed(data[:-length])
        assert client.end is None
        assert client.taken == []
        client.feed(data[-length:])
        assert [taken[0] for taken in client.taken] == [1]


async def test_a_body_in_the_smallest_pieces_takes_no_more_room_than_it_has():
    """Each piece by itself would take forty bytes and more."""
    size = 200_000
    method = commands.Basic.Deliver("c1.0", 1, False, "", "q")
    start = content(1, method, b"", commands.Basic.Properties())[: -(8 + 14)]
    announced = b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0" + size.to_bytes(8, "big") + b"\0\0\xce"
    piece = frame.marshal(body.ContentBody(b"xy"), 1) * 1000
    async with opened_client() as client:
        client.feed(start + announced)
        tracemalloc.start()
        try:
            for _ in range(size // 2000 - 1):
                client.feed(piece)
            now, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        client.feed(piece)
        assert [len(taken[2]) for taken in client.taken] == [size]
    assert now < 2 * size


async def test_a_peer_that_asks_and_asks_and_reads_no_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(wire, "MAX_UNSENT", 10_000)
    asked = frame.marshal(commands.Channel.Flow(True), 1) * 5_000
    async with opened_client() as client:
        client.connection.pause_writing()
        client.socket.holds_back = True
        for _ in range(10):
            client.feed(asked)
        assert client.end.startswith("RabbitMQ takes nothing, and ")
        assert client.socket.aborted
        assert len(client.socket.written) < 2 * wire.FLUSH_AT
