"""Routing to queues, confirms and delays."""

from dataclasses import replace

import pytest

from eventmesh.model.errors import FunctionNotFound, PayloadTooLarge, Throttled
from eventmesh.model.message import MAX_BODY, Message
from eventmesh.model.topology import Queue, Route, inbox, named, to_function, to_queue


async def test_a_message_arrives_as_it_was_sent(mesh, broker, function):
    sent = Message(
        b'{"amount": 12}',
        "the-id",
        mesh.clock.now(),
        content_type="application/x-order",
        headers={"traceparent": "00-1-2-01", "cloudEvents:subject": "café"},
        trigger="event",
        attempt=3,
        deadline=mesh.clock.monotonic() + 60,
        caller="shop.checkout",
        type="order.placed",
    )
    received = mesh.collector()
    await broker.declare([inbox(function)])
    async with broker.consume(inbox(function), received, prefetch=1):
        await broker.publish(to_function(function), sent)
        delivery = await received.next()

    # RabbitMQ says who sent it, the embedded broker has no users. Nobody waits for what is stored.
    assert replace(delivery.message, sender="") == replace(sent, deadline=None)
    assert delivery.redeliveries == 0


async def test_messages_of_one_sender_arrive_in_the_order_sent(mesh, broker, function):
    bodies = [str(number).encode() for number in range(100)]
    received = mesh.collector()
    await broker.declare([inbox(function)])
    async with broker.consume(inbox(function), received, prefetch=10):
        for body in bodies:
            await broker.publish(to_function(function), mesh.message(body))
        assert await received.bodies(100) == bodies


async def test_once_published_it_is_there_for_everybody(mesh, broker, other, function):
    await broker.declare([inbox(function)])
    await broker.publish(to_function(function), mesh.message(b"1"))
    delivery = await other.get(inbox(function))
    assert delivery.message.body == b"1"


async def test_a_message_goes_to_the_named_queue_alone(mesh, broker, function):
    queues = [named(f"{function}-a"), named(f"{function}-b")]
    await broker.declare(queues)
    await broker.publish(to_queue(queues[1]), mesh.message())
    assert [await broker.depth(queue) for queue in queues] == [0, 1]


async def test_declaring_again_keeps_what_waits(mesh, broker, other, function):
    await broker.declare([inbox(function)])
    await broker.publish(to_function(function), mesh.message())
    await other.declare([inbox(function)])
    assert await broker.depth(inbox(function)) == 1


async def test_a_name_that_leads_nowhere_raises(mesh, broker, function):
    with pytest.raises(FunctionNotFound, match=function) as raised:
        await broker.publish(to_function(function), mesh.message())
    assert raised.value.name == function


async def test_nowhere_is_no_fault_where_nobody_has_to_be(mesh, broker, function):
    await broker.publish(Route("", inbox(function).name, mandatory=False), mesh.message())
    assert await broker.depth(inbox(function)) == 0


async def publish_until_refused(mesh, broker, queue, accepted):
    # A broker that counts across a cluster may notice the limit a few messages late.
    for number in range(100):
        await broker.publish(to_queue(queue), mesh.message())
        accepted.append(number)


async def test_a_full_queue_refuses_what_it_does_not_store(mesh, broker, function):
    queue, accepted = Queue(function, "named", max_length=5), []
    await broker.declare([queue])
    with pytest.raises(Throttled) as raised:
        await publish_until_refused(mesh, broker, queue, accepted)
    assert len(accepted) >= 5
    assert raised.value.retry_after > 0
    assert await broker.depth(queue) == len(accepted)


async def test_a_full_queue_takes_again_once_there_is_room(mesh, broker, function):
    queue = Queue(function, "named", max_length=1)
    await broker.declare([queue])
    with pytest.raises(Throttled):
        await publish_until_refused(mesh, broker, queue, [])
    await broker.purge(queue)
    await broker.publish(to_queue(queue), mesh.message(b"after"))
    delivery = await broker.get(queue)
    assert delivery.message.body == b"after"


async def test_a_delayed_message_is_not_delivered_before_its_time(mesh, broker, function):
    received = mesh.collector()
    await broker.declare([inbox(function)])
    async with broker.consume(inbox(function), received, prefetch=1):
        sent = mesh.clock.now()
        await broker.publish(to_function(function), mesh.message(b"later"), delay=0.4)
        await mesh.elapse(0.4)
        assert await received.bodies(1) == [b"later"]
    assert received.times[0] >= sent + 0.4


async def test_shorter_delays_overtake_longer_ones(mesh, broker, function):
    received = mesh.collector()
    await broker.declare([inbox(function)])
    async with broker.consume(inbox(function), received, prefetch=10):
        for delay in (3.2, 0.2, 0.0, 1.7):
            body = str(delay).encode()
            await broker.publish(to_function(function), mesh.message(body), delay=delay)
        await mesh.elapse(3.2)
        assert await received.bodies(4) == [b"0.0", b"0.2", b"1.7", b"3.2"]


async def test_a_delayed_message_waits_in_its_queue_when_it_is_due(mesh, broker, function):
    await broker.declare([inbox(function)])
    await broker.publish(to_function(function), mesh.message(), delay=1.5)
    assert await broker.depth(inbox(function)) == 0
    await mesh.elapse(1.5)
    await mesh.depth_reaches(broker, inbox(function), 1)


async def test_a_delay_does_not_hide_that_a_name_leads_nowhere(mesh, broker, function):
    with pytest.raises(FunctionNotFound):
        await broker.publish(to_function(function), mesh.message(), delay=60)


async def test_a_body_of_the_largest_size_is_carried(mesh, broker, function):
    await broker.declare([inbox(function)])
    await broker.publish(to_function(function), mesh.message(bytes(MAX_BODY)))
    delivery = await broker.get(inbox(function))
    assert len(delivery.message.body) == MAX_BODY


@pytest.mark.parametrize("delay", [0, 60])
async def test_a_body_over_that_is_refused(mesh, broker, function, delay):
    await broker.declare([inbox(function)])
    message = mesh.message(bytes(MAX_BODY + 1))
    with pytest.raises(PayloadTooLarge) as raised:
        await broker.publish(to_function(function), message, delay=delay)
    assert (raised.value.size, raised.value.limit) == (MAX_BODY + 1, MAX_BODY)


async def test_half_of_a_character_in_a_header_is_told_as_a_question_mark(mesh, broker, function):
    await broker.declare([inbox(function)])
    headers = {"baggage": "a=\udcff", "team": "bl\ud800u", "place": "café"}
    await broker.publish(to_function(function), mesh.message(headers=headers))
    delivery = await broker.get(inbox(function))
    assert delivery.message.headers == {"baggage": "a=?", "team": "bl?u", "place": "café"}
