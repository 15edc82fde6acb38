"""Publish/subscribe: patterns, one copy for each subscriber, broadcast."""

from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventmesh.model.errors import Throttled
from eventmesh.model.topology import (
    PRESENCE,
    Binding,
    Queue,
    broadcast,
    inbox,
    presence_queue,
    to_presence,
    to_subscribers,
)

WORDS = st.sampled_from(["a", "b", "ab"])
TYPES = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.lists(st.one_of(WORDS, st.sampled_from("*#")), min_size=1, max_size=4).map(".".join)


def fits(pattern: list[str], type: list[str]) -> bool:
    """The rules of AMQP 0-9-1, section 3.1.3.3, word by word."""
    if not pattern:
        return not type
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(fits(rest, type[skipped:]) for skipped in range(len(type) + 1))
    return bool(type) and first in ("*", type[0]) and fits(rest, type[1:])


@pytest.mark.shared_account("the types and patterns of a service's user are those of its code")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patterns=st.lists(PATTERNS, min_size=1, max_size=3),
    types=st.lists(TYPES, min_size=1, max_size=4),
)
async def test_a_subscriber_gets_one_copy_of_each_event_that_fits(mesh, broker, patterns, types):
    root = f"t{uuid4().hex}"
    queue = inbox(f"shop.{root}")
    await broker.declare([queue], [Binding(queue, f"{root}.{pattern}") for pattern in patterns])
    for type in types:
        await broker.publish(to_subscribers(f"{root}.{type}"), mesh.message(type.encode()))

    received = []
    while (delivery := await broker.get(queue)) is not None:
        delivery.ack()
        received.append(delivery.message.body.decode())
    assert received == [
        type
        for type in types
        if any(fits(pattern.split("."), type.split(".")) for pattern in patterns)
    ]


async def test_each_subscribed_function_gets_its_own_copy(mesh, broker, function):
    queues = [inbox(f"{function}_{number}") for number in range(3)]
    await broker.declare(queues, [Binding(queue, f"{function}.*") for queue in queues])
    await broker.publish(to_subscribers(f"{function}.placed"), mesh.message())
    assert [await broker.depth(queue) for queue in queues] == [1, 1, 1]


async def test_replicas_of_a_function_share_its_copy(mesh, broker, other, function):
    queue = inbox(function)
    one, two = mesh.collector(), mesh.collector()
    for replica in (broker, other):
        await replica.declare([queue], [Binding(queue, f"{function}.#")])
    async with (
        broker.consume(queue, one, prefetch=1),
        other.consume(queue, two, prefetch=1),
    ):
        for number in (b"1", b"2"):
            await broker.publish(to_subscribers(f"{function}.placed"), mesh.message(number))
        bodies = await one.bodies(1) + await two.bodies(1)
    assert sorted(bodies) == [b"1", b"2"]


async def test_an_event_that_nobody_wants_is_no_fault(mesh, broker, function):
    await broker.publish(to_subscribers(f"{function}.placed"), mesh.message())


async def test_an_event_before_the_first_subscriber_ever_is_no_fault(empty_mesh, function):
    async with empty_mesh.connect() as broker:
        await broker.publish(to_subscribers("order.placed"), empty_mesh.message())
        await broker.publish(to_subscribers("stock.low"), empty_mesh.message(), delay=0.1)
        await broker.publish(to_presence("here"), empty_mesh.message())
        queue = inbox(function)
        await broker.declare([queue], [Binding(queue, "order.*")])
        await broker.publish(to_subscribers("order.placed"), empty_mesh.message(b"after"))
        delivery = await broker.get(queue)
        assert delivery.message.body == b"after"


async def test_a_subscriber_gets_what_is_published_after_it_came(mesh, broker, function):
    queue = inbox(function)
    await broker.publish(to_subscribers(f"{function}.placed"), mesh.message(b"before"))
    await broker.declare([queue], [Binding(queue, f"{function}.placed")])
    await broker.publish(to_subscribers(f"{function}.placed"), mesh.message(b"after"))
    delivery = await broker.get(queue)
    assert delivery.message.body == b"after"


async def test_a_binding_is_added_to_those_there_are(mesh, broker, function):
    queue = inbox(function)
    for word in ("placed", "paid"):
        await broker.declare([queue], [Binding(queue, f"{function}.{word}")])
        await broker.publish(to_subscribers(f"{function}.placed"), mesh.message())
    await broker.publish(to_subscribers(f"{function}.paid"), mesh.message())
    assert await broker.depth(queue) == 3


async def test_an_event_can_be_delayed(mesh, broker, function):
    queue = inbox(function)
    received = mesh.collector()
    await broker.declare([queue], [Binding(queue, f"{function}.*")])
    async with broker.consume(queue, received, prefetch=1):
        sent = mesh.clock.now()
        await broker.publish(to_subscribers(f"{function}.due"), mesh.message(), delay=0.3)
        await mesh.elapse(0.3)
        await received.bodies(1)
    assert received.times[0] >= sent + 0.3


async def test_a_full_subscriber_is_an_error(mesh, broker, function):
    queue = Queue(function, "named", max_length=1)
    await broker.declare([queue], [Binding(queue, f"{function}.*")])
    with pytest.raises(Throttled):
        await publish_many(mesh, broker, f"{function}.placed")


async def publish_many(mesh, broker, type):
    for _ in range(100):
        await broker.publish(to_subscribers(type), mesh.message())


async def test_broadcast_gives_every_instance_a_copy(mesh, broker, other, function):
    one, two = mesh.collector(), mesh.collector()
    first, second = broadcast(function, "i1"), broadcast(function, "i2")
    await broker.declare([first], [Binding(first, f"{function}.*")])
    await other.declare([second], [Binding(second, f"{function}.*")])
    async with (
        broker.consume(first, one, prefetch=10),
        other.consume(second, two, prefetch=10),
    ):
        await broker.publish(to_subscribers(f"{function}.changed"), mesh.message(b"1"))
        assert await one.bodies(1) == [b"1"]
        assert await two.bodies(1) == [b"1"]


async def test_a_broadcast_queue_goes_with_its_consumer(mesh, broker, function):
    queue = broadcast(function, "i1")
    received = mesh.collector()
    await broker.declare([queue], [Binding(queue, f"{function}.*")])
    async with broker.consume(queue, received, prefetch=10):
        await broker.publish(to_subscribers(f"{function}.changed"), mesh.message(b"1"))
        await received.next()
    await broker.publish(to_subscribers(f"{function}.changed"), mesh.message(b"2"))
    assert await broker.depth(queue) == 0


async def test_notes_about_presence_go_their_own_way(mesh, broker, other, function):
    events, heard = inbox(function), presence_queue(uuid4().hex, "heard")
    received = mesh.collector()
    pattern, word = f"{function}.*", f"{function}.here"
    await broker.declare(
        [events, heard], [Binding(events, pattern), Binding(heard, pattern, PRESENCE)]
    )
    async with other.consume(heard, received, prefetch=10):
        await broker.publish(to_presence(word), mesh.message(b"1"))
        await broker.publish(to_subscribers(word), mesh.message(b"2"))
        await broker.publish(to_presence(word), mesh.message(b"3"))
        assert await received.bodies(2) == [b"1", b"3"]
    assert await broker.depth(events) == 1
