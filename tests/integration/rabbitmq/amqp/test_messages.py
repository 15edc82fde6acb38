"""Messages that go through RabbitMQ and come out as they were."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import aio_pika
import pytest
from pamqp import commands

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused, Returned
from eventmesh.brokers.rabbitmq.amqp.frames import HEADER_OVERHEAD, publish_target
from eventmesh.brokers.rabbitmq.amqp.properties import (
    decode_properties,
    encode_properties,
    receive,
)
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.message import MAX_BODY, Message

PIECE = 131_072 - 8
SIZES = [0, 1, 200, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1_000_000, MAX_BODY]


def to(queue):
    return publish_target("", queue, mandatory=True)


def received(consumed):
    _, properties, body, redelivered = consumed
    return receive(properties, body, SystemClock(), redelivered=redelivered)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_bodies_of_all_sizes(channel, queue, consuming, send, soon, kind):
    name = await queue(queue_type=kind)
    consumed = await consuming(name, prefetch=1)
    for size in SIZES:
        body = bytes(range(256)) * (size // 256 + 1)
        confirmed = send(channel, name, body[:size])
        tag, _, came, _ = await consumed.next()
        assert came == body[:size]
        consumed.channel.ack(tag)
        await soon(confirmed)


async def test_many_at_once_come_in_order(channel, queue, consuming, send, soon):
    name = await queue()
    consumed = await consuming(name, prefetch=500)
    confirms = [send(channel, name, str(number).encode()) for number in range(2_000)]
    for number in range(2_000):
        tag, _, body, _ = await consumed.next()
        assert body == str(number).encode()
        if tag % 100 == 0:
            consumed.channel.ack(tag, multiple=True)
    for confirmed in confirms:
        await soon(confirmed)
    assert len(channel.confirms) == 0


async def test_all_properties_arrive(channel, queue, consuming):
    name = await queue()
    consumed = await consuming(name)
    message = Message(
        b"[1]",
        "a",
        1_700_000_000.25,
        content_type="text/plain",
        headers={"traceparent": "00-ab", "ä": "ö" * 300, "": ""},
        trigger="event",
        attempt=3,
        caller="shop.place",
        type="order.placed",
        reply_to="somebody",
        correlation_id="7",
    )
    properties = encode_properties(message, durable=True, expiration=60_000)
    channel.publish(to(name), properties, b"[1]", "a")
    arrived, counts = received(await consumed.next())
    assert (replace(arrived, deadline=None), counts) == (message, (0, 0))
    assert 0 < arrived.deadline - SystemClock().monotonic() <= 60


HEADERS = {
    "text": "text",
    "true": True,
    "small": 1,
    "large": 2**40,
    "negative": -5,
    "float": 1.5,
    "decimal": Decimal("1.25"),
    "date": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
    "bytes": bytearray(b"\xff\x00"),
    "table": {"inner": {"x": [1, "two", None]}},
    "list": [1, {"a": "b"}],
    "none": None,
}


async def test_messages_of_another_client_are_read(rabbitmq_url, queue, consuming):
    name = await queue()
    consumed = await consuming(name)
    async with await aio_pika.connect(rabbitmq_url) as other:
        channel = await other.channel()
        await channel.default_exchange.publish(
            aio_pika.Message(
                b"<order/>",
                headers=HEADERS,
                content_type="application/xml",
                content_encoding="utf-8",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                priority=5,
                correlation_id="c",
                reply_to="r",
                expiration=60,
                message_id="m",
                timestamp=1_700_000_000,
                type="t",
                user_id="guest",
                app_id="a",
            ),
            routing_key=name,
        )
        await channel.default_exchange.publish(aio_pika.Message(b"bare"), routing_key=name)
    full, bare = received(await consumed.next()).message, received(await consumed.next()).message
    assert full == Message(
        b"<order/>",
        "m",
        1_700_000_000.0,
        content_type="application/xml",
        headers={
            "text": "text",
            "true": "true",
            "small": "1",
            "large": str(2**40),
            "negative": "-5",
            "float": "1.5",
            "decimal": "1.25",
            "date": "1700000000",
        },
        caller="a",
        type="t",
        reply_to="r",
        correlation_id="c",
        sender="guest",
    )
    assert (bare.body, bare.content_type, bare.headers) == (b"bare", "application/json", {})


async def test_another_client_reads_our_messages(rabbitmq_url, channel, queue, send, soon):
    name = await queue()
    given = {"headers": {"x": "y"}, "type": "order.placed", "attempt": 2}
    await soon(send(channel, name, b"[1]", id="a", **given))
    async with await aio_pika.connect(rabbitmq_url) as other:
        message = await (await (await other.channel()).get_queue(name)).get()
        assert (message.body, message.message_id, message.type) == (b"[1]", "a", "order.placed")
        assert message.content_type == "application/json"
        assert message.headers.items() >= {"x": "y", "em-attempt": 2}.items()
        assert isinstance(message.headers["em-time"], float)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_headers_as_large_as_a_frame_may_grow_on_their_way(
    channel, queue, consuming, send, soon, kind
):
    """RabbitMQ adds headers of its own, such as x-delivery-count, beyond what was agreed on."""
    name = await queue(queue_type=kind)
    empty = encode_properties(Message(b"", "a", 1.0, headers={"h": ""}), durable=False)
    room = 131_072 - HEADER_OVERHEAD - len(empty)
    await soon(send(channel, name, id="a", timestamp=1.0, headers={"h": "v" * room}))
    with pytest.raises(PayloadInvalid, match="131,053 bytes of headers"):
        send(channel, name, id="a", timestamp=1.0, headers={"h": "v" * (room + 1)})
    consumed = await consuming(name)
    for times in range(3):
        came = await consumed.next()
        assert received(came).message.headers == {"h": "v" * room}
        assert received(came).counts[0] == (times if kind == "quorum" else min(times, 1))
        consumed.channel.requeue(came[0])


async def test_an_id_that_is_no_text_comes_back_as_it_was(channel, queue, consuming):
    name = await queue()
    consumed = await consuming(name)
    channel.publish(to(name), b"\x04\0\x03\xff\x80c", b"ask", "")
    asked = received(await consumed.next()).message
    answer = Message(b"answer", "b", 1.0, correlation_id=asked.correlation_id)
    channel.publish(to(name), encode_properties(answer, durable=False), b"answer", "b")
    assert b"\x03\xff\x80c" in (await consumed.next())[1]


async def test_what_has_no_queue_is_returned_and_the_rest_is_not(channel, queue, send, soon):
    name = await queue()
    outcomes = [
        send(channel, where, id="same") for where in (name, "nowhere", name, "nowhere", "nowhere")
    ]
    for place, confirmed in enumerate(outcomes):
        if place in (0, 2):
            await soon(confirmed)
        else:
            with pytest.raises(Returned):
                await soon(confirmed)


async def test_a_full_queue_refuses(channel, queue, send, soon):
    name = await queue(max_length=1, overflow="reject-publish")
    await soon(send(channel, name))
    with pytest.raises(Refused):
        await soon(send(channel, name))


async def test_a_message_expires(channel, queue, consuming):
    dead = await queue()
    name = await queue(dead_letter_exchange="", dead_letter_routing_key=dead)
    properties = encode_properties(Message(b"", "late", 1.0), durable=False, expiration=1)
    channel.publish(to(name), properties, b"", "late")
    assert received(await (await consuming(dead)).next()).message.id == "late"


async def test_what_the_broker_adds_is_passed_over(channel, queue, consuming, send):
    """Counts, texts, and tables of deaths: it is no header that the sender gave."""
    dead = await queue()
    name = await queue(
        queue_type="quorum", dead_letter_exchange="", dead_letter_routing_key=dead, delivery_limit=1
    )
    send(channel, name, id="a", headers={"x": "y"})
    consumed, end = await consuming(name), await consuming(dead)
    for _ in range(2):
        consumed.channel.requeue((await consumed.next())[0])
    _, properties, _, _ = await end.next()
    read = commands.Basic.Properties()
    read.unmarshal(int.from_bytes(properties[:2], "big"), properties[2:])
    assert [death["reason"] for death in read.headers["x-death"]] == ["delivery_limit"]
    headers = decode_properties(properties, b"", SystemClock(), redelivered=False).message.headers
    assert (read.headers["x-first-death-reason"], headers) == ("delivery_limit", {"x": "y"})
