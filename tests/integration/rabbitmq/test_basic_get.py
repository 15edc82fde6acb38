"""Getting single messages: acks, requeues, and messages that get neither."""

import asyncio
from dataclasses import replace

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.management import basic_get
from eventmesh.model.errors import Throttled
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, named, to_queue


@pytest.fixture
async def letters(client, function):
    """Ten dead letters."""
    queue = dead_letters(function)
    await client.management.declare([queue])
    for number in range(10):
        await client.publish(queue.name, b"%d" % number)
    return queue


async def taken(client, queue, count):
    return [await client.management.get(queue) for _ in range(count)]


async def test_getting_over_and_over_loses_nothing_and_keeps_the_order(client, letters):
    for _ in range(30):
        deliveries = await taken(client, letters, 10)
        assert [one.message.body for one in deliveries] == [b"%d" % number for number in range(10)]
        for delivery in deliveries:
            delivery.requeue()
        await client.depth_reaches(letters, 10)


async def test_how_often_it_was_delivered_is_told(client, letters):
    (await client.management.get(letters)).requeue()
    await client.depth_reaches(letters, 10)
    delivery = await client.management.get(letters)
    assert delivery.message.body == b"0"
    assert delivery.redeliveries >= 1


async def test_asking_for_a_queue_that_is_not_there_gives_nothing_else_back(client, letters):
    held = await client.management.get(letters)
    assert await client.management.get(named("nowhere")) is None
    assert await client.management.depth(letters) == 9
    held.ack()
    assert await client.take(letters) == b"1"


async def test_several_queues_are_looked_into_at_once(client, letters, function):
    other = named(function)
    await client.management.declare([other])
    await client.publish(other.name, b"other")
    first = await client.management.get(letters)
    second = await client.management.get(other)
    third = await client.management.get(letters)
    for delivery in (first, second, third):
        delivery.requeue()
    await client.depth_reaches(letters, 10)
    await client.depth_reaches(other, 1)


async def test_looking_into_another_queue_ends_no_look_that_is_under_way(client, letters, function):
    others = [named(f"{function}.{number}") for number in range(3)]
    await client.management.declare(others)
    (await client.management.get(letters)).requeue()
    await client.depth_reaches(letters, 10)
    held, *nothing = await asyncio.gather(*map(client.management.get, (letters, *others)))
    assert nothing == [None] * 3
    assert not held.stale
    held.ack()
    await client.depth_reaches(letters, 9)


async def test_who_looks_into_a_queue_at_once_shares_a_channel(connecting, rabbitmq, function):
    queue = dead_letters(function)
    async with connecting(rabbitmq.url, f"{function} mine") as client:
        await client.management.declare([queue])
        await asyncio.gather(*(client.management.get(queue) for _ in range(5)))
        connections = await rabbitmq.table("list_connections", "client_properties", "channels")
    mine = f"{function} mine"
    counts = [row["channels"] for row in connections if mine in str(row["client_properties"])]
    assert counts == [1]


async def test_the_bound_holds_for_whoever_takes_at_once(client, letters, monkeypatch):
    monkeypatch.setattr(basic_get, "MAX_TAKEN", 3)
    looks = (client.management.get(letters) for _ in range(5))
    outcomes = await asyncio.gather(*looks, return_exceptions=True)
    assert sum(isinstance(one, Throttled) for one in outcomes) == 2
    await client.depth_reaches(letters, 7)


async def test_answers_that_were_given_are_sent_before_the_end(connecting, rabbitmq_url, letters):
    async with connecting(rabbitmq_url) as client:
        for delivery in await taken(client, letters, 5):
            delivery.ack()
    async with connecting(rabbitmq_url) as client:
        await client.depth_reaches(letters, 5)


async def test_what_is_not_answered_goes_back_at_the_end(connecting, rabbitmq_url, letters, client):
    async with connecting(rabbitmq_url) as other:
        deliveries = await taken(other, letters, 5)
    await client.depth_reaches(letters, 10)
    deliveries[0].ack()
    assert await client.take(letters) == b"0"


async def test_there_is_a_bound_to_what_is_taken_and_not_answered(client, letters, monkeypatch):
    monkeypatch.setattr(basic_get, "MAX_TAKEN", 3)
    held = await taken(client, letters, 3)
    with pytest.raises(Throttled, match="ack or requeue some first"):
        await client.management.get(letters)
    held[0].ack()
    await client.depth_reaches(letters, 7)
    assert (await client.management.get(letters)).message.body == b"3"


async def test_an_answer_after_the_connection_was_lost_does_nothing(rabbitmq, connecting, function):
    queue = dead_letters(function)
    async with connecting(rabbitmq.url, f"{function} mine") as client:
        await client.management.declare([queue])
        await client.publish(queue.name, b"1")
        held = await client.management.get(queue)
        await rabbitmq.close_connections(f"{function} mine")
        await client.depth_reaches(queue, 1)
        held.ack()
        assert await client.take(queue) == b"1"


async def test_its_time_is_told_to_the_millisecond(client, function, rabbitmq_url):
    queue = named(function)
    await client.management.declare([queue])
    sent = Message(b"", "a", 1_700_000_000.123, headers={"x": "y"})
    async with RabbitBroker(rabbitmq_url) as broker:
        await broker.publish(to_queue(queue), sent)
    held = await client.management.get(queue)
    held.ack()
    assert held.message == replace(sent, sender="guest")
