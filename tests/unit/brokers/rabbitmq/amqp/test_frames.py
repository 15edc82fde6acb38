"""Frames that are written and read by hand, against those of pamqp."""

from itertools import product

import pytest
from amqp_client import opened_client
from fake_rabbitmq import content
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame, header

from eventmesh.brokers.rabbitmq.amqp import frames
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused, Returned
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.model.message import Message

SHORT = st.text(st.characters(codec="utf-8"), max_size=60)
EXCHANGES = st.from_regex(r"[a-zA-Z0-9_.:-]{0,60}", fullmatch=True)  # all that pamqp takes
CHANNELS = st.integers(1, 65_535)
TAGS = st.integers(1, 2**63 - 1)  # pamqp goes no further
FRAME_MAX = frames.SIZE_MIN
BODIES = st.binary(max_size=50) | st.sampled_from(
    [b"x" * size for size in (4087, 4088, 4089, 8176, 8177, 20_000)]
)


def every(data):
    """All frames in these bytes, as pamqp reads them."""
    while data:
        size, channel, value = frame.unmarshal(data)
        assert size <= FRAME_MAX
        yield channel, value
        data = data[size:]


@given(CHANNELS, SHORT, SHORT, st.booleans(), BODIES)
def test_pamqp_reads_a_message_that_is_published(channel, exchange, key, mandatory, body):
    target = frames.publish_target(exchange, key, mandatory=mandatory)
    properties = encode_properties(Message(b"", "a", 1.0), durable=True)
    data = frames.publish(channel, target, properties, body, FRAME_MAX)
    numbers, (method, head, *pieces) = zip(*every(data), strict=True)
    assert set(numbers) == {channel}
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key) == (exchange, key)
    assert (method.mandatory, method.immediate) == (mandatory, False)
    assert isinstance(head, header.ContentHeader)
    assert (head.body_size, head.properties.message_id) == (len(body), "a")
    assert b"".join(piece.value for piece in pieces) == body


@given(st.binary(max_size=255))
def test_a_key_that_is_no_text_is_written_as_it_came(key):
    target = frames.publish_target("", key.decode(errors="surrogateescape"), mandatory=False)
    assert target.endswith(bytes((len(key),)) + key + b"\0")


def test_a_key_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="range"):
        frames.publish_target("", "ä" * 128, mandatory=False)


@given(CHANNELS, TAGS, st.booleans())
def test_answers_are_those_of_pamqp(channel, tag, multiple):
    assert frames.ack(channel, tag, multiple=multiple) == frame.marshal(
        commands.Basic.Ack(tag, multiple), channel
    )
    assert frames.requeue(channel, tag) == frame.marshal(
        commands.Basic.Nack(tag, multiple=False, requeue=True), channel
    )


@given(TAGS, st.booleans(), EXCHANGES, SHORT, BODIES)
async def test_a_delivery_is_what_pamqp_wrote(tag, redelivered, exchange, key, body):
    properties = commands.Basic.Properties(message_id="a", headers={"b": "c"})
    method = commands.Basic.Deliver("c1.0", tag, redelivered, exchange, key)
    async with opened_client() as client:
        client.feed(content(1, method, body, properties, FRAME_MAX))
        assert client.taken == [(tag, properties.marshal(), body, redelivered)]


@given(EXCHANGES, SHORT, st.integers(200, 599), SHORT, BODIES)
async def test_a_return_finds_its_message_wherever_that_was_to_go(exchange, key, code, text, body):
    target = frames.publish_target(exchange, key, mandatory=True)
    properties = encode_properties(Message(b"", "a", 1.0), durable=True)
    method = commands.Basic.Return(code, text, exchange, key)
    async with opened_client() as client:
        future = client.channel.publish(target, properties, body, "a")
        other = client.publish("a")
        head = header.ContentHeader()
        head.unmarshal(b"\0\x3c\0\0" + bytes(8) + properties)
        client.feed(content(1, method, body, head.properties, FRAME_MAX))
        assert isinstance(future.exception(), Returned)
        client.feed(frame.marshal(commands.Basic.Nack(2), 1))
        assert isinstance(other.exception(), Refused)


METHODS = [
    commands.Connection.Start(server_properties={"a": {"b": [1, None]}}),
    commands.Connection.Tune(1, 2, 3),
    commands.Connection.OpenOk(),
    commands.Connection.Close(320, "CONNECTION_FORCED", 10, 40),
    commands.Connection.CloseOk(),
    commands.Connection.Blocked("low on memory"),
    commands.Connection.Unblocked(),
    commands.Channel.OpenOk(),
    commands.Channel.Flow(True),
    commands.Channel.Close(404, "NOT_FOUND", 60, 40),
    commands.Channel.CloseOk(),
    commands.Confirm.SelectOk(),
    commands.Basic.QosOk(),
    commands.Basic.ConsumeOk("c1.0"),
    commands.Basic.Cancel("c1.0"),
    commands.Basic.CancelOk("c1.0"),
]
PAYLOADS = [frames.method(1, method)[7:-1] for method in METHODS]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_of_the_broker_comes_back_from_its_bytes(method):
    payload = frames.method(1, method)[7:-1]
    assert dict(frames.parse_method(payload)) == dict(method)
    assert frames.parse_method(payload).name == method.name


def readable(payload):
    """Whether it is a method; anything but ValueError is a fault of the parser."""
    try:
        frames.parse_method(payload)
    except ValueError:
        return False
    return True


@given(st.binary(max_size=300))
def test_any_bytes_are_a_method_or_none(payload):
    readable(payload)


@given(st.sampled_from(PAYLOADS), st.binary(max_size=100))
def test_any_bytes_behind_the_number_of_a_method(payload, arguments):
    readable(payload[:4] + arguments)


def test_no_changed_byte_of_a_method_is_more_than_an_unreadable_method():
    for payload, change in product(PAYLOADS, (1, 0x80, 0xFF)):
        for place in range(len(payload)):
            changed = bytearray(payload)
            changed[place] ^= change
            readable(bytes(changed))


@pytest.mark.parametrize("payload", PAYLOADS, ids=[method.name for method in METHODS])
def test_a_method_that_was_cut_off_is_read_or_refused(payload):
    readable_at = [readable(payload[:length]) for length in range(len(payload))]
    assert not any(readable_at[:4])
