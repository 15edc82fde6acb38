"""The exchanges to which is published: there when they are needed, whatever became of them."""

from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from waiting import DEADLINE

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.delays import level_name
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.message import Message
from eventmesh.model.topology import EVENTS, Binding, inbox, to_queue, to_subscribers

EVENT = to_subscribers("order.placed")
LEVEL = level_name(0)
"""Where a delay of 0.1 s is spent."""


def message(body=b"{}"):
    return Message(body, uuid4().hex, 1_700_000_000.0)


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


@pytest.fixture
async def broker(url):
    async with RabbitBroker(url, connect_timeout=DEADLINE) as connected:
        yield connected


@pytest.fixture
async def operator(url, connecting):
    async with connecting(url) as client:
        yield client


@pytest.fixture
def deleting(operator):
    """A channel on which an operator deletes things."""

    @asynccontextmanager
    async def deleting():
        async with operator.management.connection.channel() as channel:
            yield channel

    return deleting


@pytest.fixture
async def queue(broker, function):
    declared = inbox(function)
    await broker.declare([declared])
    return declared


async def test_events_go_on_after_their_exchange_was_deleted(broker, queue, deleting):
    await broker.publish(EVENT, message())
    async with deleting() as channel:
        await channel.exchange_delete(EVENTS)
    with pytest.raises(BrokerUnavailable, match=r"no exchange 'em\.events'"):
        await broker.publish(EVENT, message())
    await broker.publish(EVENT, message())
    # Its bindings went with it.
    await broker.declare([queue], [Binding(queue, "order.*")])
    await broker.publish(EVENT, message(b"again"))
    assert (await broker.get(queue)).message.body == b"again"


async def test_a_user_who_may_not_make_exchanges_publishes_to_what_is_there(
    rabbitmq, url, broker, queue
):
    name, vhost = f"u{uuid4().hex}", url.rpartition("/")[2]
    await broker.declare([queue], [Binding(queue, "order.*")])
    await rabbitmq.ctl("add_user", name, "secret")
    await rabbitmq.ctl("set_permissions", "-p", vhost, name, "^$", r"^(em\.|amq\.default$)", "^$")
    async with RabbitBroker(url.replace("guest:guest", f"{name}:secret")) as restricted:
        await restricted.publish(EVENT, message(b"event"))
        await restricted.publish(to_queue(queue), message(b"sent"))
    assert [(await broker.get(queue)).message.body for _ in range(2)] == [b"event", b"sent"]


async def test_delays_go_on_after_the_exchange_of_a_level_was_deleted(
    broker, queue, operator, deleting
):
    await broker.publish(to_queue(queue), message(), delay=0.1)
    await operator.take(queue)
    async with deleting() as channel:
        await channel.exchange_delete(LEVEL)
    with pytest.raises(BrokerUnavailable, match=f"no exchange '{LEVEL}'"):
        await broker.publish(to_queue(queue), message(), delay=0.1)
    await broker.publish(to_queue(queue), message(b"again"), delay=0.1)
    assert await operator.take(queue) == b"again"


@pytest.mark.parametrize("event", [False, True])
async def test_a_level_whose_queue_was_deleted_is_made_again_at_once(
    broker, queue, operator, event
):
    await broker.declare([queue], [Binding(queue, "order.*")])
    route = EVENT if event else to_queue(queue)
    await broker.publish(route, message(), delay=0.1)
    await operator.take(queue)
    await operator.management.delete(LEVEL)
    await broker.publish(route, message(b"again"), delay=0.1)
    assert await operator.take(queue) == b"again"
