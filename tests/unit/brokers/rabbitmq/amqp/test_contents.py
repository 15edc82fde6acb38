"""Messages put together from frames, and what the connection does about frames that do not fit."""

import asyncio
import time

import pytest
from amqp_client import FRAME_MAX, opened_client
from fake_rabbitmq import content, delivery
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header, heartbeat

from eventmesh.brokers.rabbitmq.amqp.confirms import Refused, Returned
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.message import Message

PIECE = FRAME_MAX - 8


@pytest.fixture
async def client():
    async with opened_client() as client:
        yield client


BODIES = [b"", b"a", b"b" * 300, b"c" * PIECE, b"d" * (PIECE + 1), b"e" * (5 * PIECE)]


def returned(id):
    properties = Message(b"{}", id, 1.0)
    read = header.ContentHeader()
    read.unmarshal(b"\0\x3c\0\0" + bytes(8) + encode_properties(properties, durable=True))
    return content(1, commands.Basic.Return(312, "NO_ROUTE", "", "gone"), b"{}", read.properties)


def recorded():
    """Deliveries of all sizes, confirms, a return and heartbeats, as they come from a broker."""
    parts = []
    for tag, payload in enumerate(BODIES, start=1):
        method = commands.Basic.Deliver("c1.0", tag, tag % 2 == 0, "", "q")
        properties = commands.Basic.Properties(message_id=f"m{tag}")
        parts.append(content(1, method, payload, properties, FRAME_MAX))
        parts.append(frame.marshal(heartbeat.Heartbeat(), 0))
    parts += [
        frame.marshal(commands.Basic.Ack(1), 1),
        returned("b"),
        frame.marshal(commands.Basic.Ack(3, True), 1),
        frame.marshal(commands.Basic.Nack(4), 1),
    ]
    return b"".join(parts)


STREAM = recorded()


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=40).map(sorted))
async def test_every_way_to_cut_a_stream_has_the_same_outcome(places):
    async with opened_client() as client:
        futures = [client.publish(id) for id in "abcd"]
        for start, end in zip([0, *places], [*places, len(STREAM)], strict=True):
            client.feed(STREAM[start:end])
        assert client.end is None
    assert [taken[0] for taken in client.taken] == [1, 2, 3, 4, 5, 6]
    assert [taken[2] for taken in client.taken] == BODIES
    assert [taken[3] for taken in client.taken] == [False, True] * 3
    outcomes = [future.exception() for future in futures]
    assert [type(error) for error in outcomes] == [type(None), Returned, type(None), Refused]


METHOD = frame.marshal(commands.Basic.Deliver("c1.0", 1, False, "", "q"), 1)
TEN_BYTES = header.ContentHeader(body_size=10)
HEADER = frame.marshal(TEN_BYTES, 1)
EMPTY = frame.marshal(header.ContentHeader(body_size=0), 1)
BODY = frame.marshal(body.ContentBody(b"12345"), 1)


def over_the_limit(size):
    return b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0" + size.to_bytes(8, "big") + b"\0\0\xce"


def method_frame(channel, payload):
    return (
        b"\x01" + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"
    )


NESTED = b""
for _ in range(580):
    NESTED = b"\x00F" + len(NESTED).to_bytes(4, "big") + NESTED

HOSTILE = {
    "wrong end octet": (METHOD[:-1] + b"\0", "frame-end octet"),
    "oversize frame": (
        b"\x03\0\x01\0\x02\x0f\xf9.",
        "135,169 bytes, and at most 135,168 are accepted",
    ),
    "unknown type": (b"\x07\0\x01\0\0\0\x01x\xce", "type 7 is unknown"),
    "unknown type on channel 0": (b"\x07\0\0\0\0\0\x01x\xce", "type 7 on channel 0"),
    "content on an unknown channel": (BODY.replace(b"\0\x01", b"\0\x02", 1), "channel 2"),
    "method on an unknown channel": (METHOD.replace(b"\0\x01", b"\0\x02", 1), "channel 2"),
    "header without a method": (HEADER, "header came where none belongs"),
    "body without a method": (BODY, "body came where none belongs"),
    "body without a header": (METHOD + BODY, "body came where none belongs"),
    "two headers": (METHOD + HEADER + HEADER, "header came where none belongs"),
    "body over its size": (METHOD + HEADER + BODY + BODY + BODY, "body came where none belongs"),
    "body after its end": (METHOD + HEADER + BODY + BODY + BODY, "body came where none belongs"),
    "empty body": (METHOD + HEADER + b"\x03\0\x01\0\0\0\0\xce", "body came where none belongs"),
    "size over the limit": (METHOD + over_the_limit(2**29 + 1), "536,870,913 bytes is over"),
    "endless size": (METHOD + over_the_limit(2**64 - 1), "is over RabbitMQ's own limit"),
    "second method in a content": (METHOD + METHOD, "before the one before it had ended"),
    "third method in a content": (METHOD + HEADER + BODY + METHOD, "before it had ended"),
    "empty method": (b"\x01\0\x01\0\0\0\0\xce", "cannot be read"),
    "unknown method": (method_frame(1, b"\0\x63\0\x63"), "cannot be read"),
    "unknown method on channel 0": (method_frame(0, b"\0\x63\0\x63"), "cannot be read"),
    "truncated delivery": (method_frame(1, b"\0\x3c\0\x3c\x04c1.0\0"), "cannot be read"),
    "empty delivery": (method_frame(1, b"\0\x3c\0\x3c"), "cannot be read"),
    "truncated confirm": (method_frame(1, b"\0\x3c\0\x50\0\0"), "cannot be read"),
    "truncated return": (method_frame(1, b"\0\x3c\0\x32\0\0"), "cannot be read"),
    "truncated header": (METHOD + b"\x02\0\x01\0\0\0\x02\0\x3c\xce", "cannot be read"),
    "returned without an id": (
        frame.marshal(commands.Basic.Return(312, "NO_ROUTE", "", "gone"), 1)
        + b"\x02\0\x01\0\0\0\x0d\0\x3c\0\0"
        + bytes(8)
        + b"\x80\xce",
        "cannot be read",
    ),
    "truncated method": (method_frame(1, b"\0\x14\0\x28\0"), "cannot be read"),
    "tables without end": (
        method_frame(0, b"\0\x0a\0\x0a\0\x09" + len(NESTED).to_bytes(4, "big") + NESTED),
        "cannot be read",
    ),
    "answer to nothing": (frame.marshal(commands.Basic.QosOk(), 1), "answers nothing"),
    "close-ok to nothing": (frame.marshal(commands.Channel.CloseOk(), 1), "answers nothing"),
    "endless talk": (frame.marshal(commands.Connection.OpenOk(), 0) * 2, "answers nothing"),
    "garbage": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "are accepted"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_frame_ends_the_connection_with_a_reason(client, name, soon):
    data, reason = HOSTILE[name]
    future = client.publish("a")
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(unavailable(client.channel.call(commands.Channel.Flow(True))))
        await asyncio.sleep(0)
        client.feed(data)
        assert reason in client.end
        assert client.socket.aborted
        await soon(call)
    with pytest.raises(BrokerUnavailable, match="may or may not be stored"):
        await future
    assert not client.channel.is_open
    assert client.taken in ([], [(1, b"\0\0", b"1234512345", False)])
    with pytest.raises(BrokerUnavailable):
        await client.connection.open_channel()


async def unavailable(call):
    with pytest.raises(BrokerUnavailable):
        await call


async def test_nothing_is_taken_from_a_connection_that_was_given_up(client):
    client.feed(HEADER + delivery(1, "c1.0", 1))
    client.feed(delivery(1, "c1.0", 2))
    assert client.end
    assert client.taken == []


@given(st.binary(max_size=200))
async def test_any_bytes_end_in_a_reason_once_there_are_enough_of_them(data):
    async with opened_client() as client:
        client.feed(data)
        client.feed(bytes(200_000))
        assert client.end


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 255))
async def test_any_changed_byte_raises_nothing(place, change):
    changed = bytearray(STREAM)
    changed[place] ^= change
    async with opened_client() as client:
        for id in "abcd":
            client.publish(id)
        client.feed(bytes(changed))
        assert client.end is None or client.socket.aborted


async def test_a_large_message_may_come_in_small_chunks():
    """16 MiB in pieces of 1 KiB: to join the pieces of a frame with each would take long."""
    payload = bytes(16 << 20)
    data = delivery(1, "c1.0", 1, payload)
    async with opened_client(frame_max=131_072) as client:
        begun = time.process_time()
        for start in range(0, len(data), 1024):
            client.feed(data[start : start + 1024])
        print(f"16 MiB in chunks of 1 KiB: {time.process_time() - begun:.3f} s")
        assert client.end is None
        assert [len(taken[2]) for taken in client.taken] == [len(payload)]


async def test_a_delivery_for_a_consumer_that_is_gone_goes_back(client):
    await client.answered(client.channel.cancel("c1.0"), commands.Basic.CancelOk("c1.0"))
    client.socket.writes.clear()
    client.feed(delivery(1, "c1.0", 9))
    await asyncio.sleep(0)
    assert client.socket.written == frame.marshal(commands.Basic.Nack(9, False, True), 1)
    assert client.end is None
