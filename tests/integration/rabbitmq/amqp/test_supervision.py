"""Consumers, publishers and requests that outlive what a real broker does to them."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import aio_pika
import pytest
from waiting import DEADLINE, PAUSE

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    InvocationTimeout,
    Throttled,
)
from eventmesh.model.message import Message
from eventmesh.model.topology import Route, inbox, named, rpc_queue, to_function, to_queue, to_rpc


@pytest.fixture
def publish_timeout():
    """Seconds in which a message is confirmed, also on a busy machine."""
    return DEADLINE


@pytest.fixture
async def broker(rabbitmq, function, publish_timeout):
    """A broker whose connections have the name of the function."""
    options = {"connect_timeout": DEADLINE, "publish_timeout": publish_timeout}
    async with RabbitBroker(rabbitmq.url, name=function, **options) as broker:
        yield broker


hasty = pytest.mark.parametrize("publish_timeout", [2], ids=["hasty"])
"""Sends soon again what is not confirmed: it may have been lost with what a test takes away."""


@pytest.fixture
def function():
    return f"shop.f{uuid4().hex}"


@pytest.fixture
def new():
    """Makes messages of now; `wait` is how many seconds the sender waits for the reply."""

    def new(body=b"{}", wait=None):
        now = SystemClock.now()
        return Message(
            body,
            uuid4().hex,
            now,
            deadline=None if wait is None else SystemClock.monotonic() + wait,
        )

    return new


class Inbox:
    """A consumer's `deliver`: it acknowledges, and remembers whom it has seen."""

    def __init__(self, soon):
        self._soon = soon
        self._came = asyncio.Queue()
        self.seen = []

    def __call__(self, delivery):
        self.seen.append(delivery.message.id)
        self._came.put_nowait(delivery.message.id)
        delivery.ack()

    async def comes(self):
        """Wait for the next one, and return its id."""
        return await self._soon(self._came.get())

    async def sees(self, id):
        while await self.comes() != id:
            pass


@pytest.fixture
def box(soon):
    return Inbox(soon)


async def stored(broker, function, sent):
    """Publish until it is stored: at the moment of a loss nobody knows, and queues may be away."""
    while True:
        try:
            return await broker.publish(to_function(function), sent)
        except (FunctionNotFound, BrokerUnavailable, Throttled):
            await asyncio.sleep(0)


async def unavailable(call):
    with pytest.raises(BrokerUnavailable):
        await call


async def delete_the_queue(rabbitmq, function):
    await rabbitmq.delete_queue(inbox(function).name)


async def kill_the_channels(rabbitmq, function):
    await rabbitmq.kill_channels()


async def close_the_connections(rabbitmq, function):
    await rabbitmq.close_connections(function)


async def restart(rabbitmq, function):
    await rabbitmq.restart()


async def kill(rabbitmq, function):
    await rabbitmq.kill()
    await rabbitmq.start()


DISRUPTIONS = [kill_the_channels, restart, kill]
LOSSES = [
    delete_the_queue,
    close_the_connections,
    *(pytest.param(lose, marks=pytest.mark.disruptive) for lose in DISRUPTIONS),
]


@hasty
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_consumer_comes_back_once(rabbitmq, broker, function, new, box, soon, lose):
    await broker.declare([inbox(function)])
    async with broker.consume(inbox(function), box, prefetch=10):
        for _ in range(2):
            await lose(rabbitmq, function)
            sent = new()
            await soon(stored(broker, function, sent))
            await box.sees(sent.id)
            await consumers_reach(rabbitmq, function, 1)
    await consumers_reach(rabbitmq, function, 0)


async def consumers_reach(rabbitmq, function, count):
    # What the broker lists is late by as long as a quorum queue takes to hear of it.
    async with asyncio.timeout(DEADLINE):
        while await consumers(rabbitmq, function) != count:
            await asyncio.sleep(PAUSE)


async def consumers(rabbitmq, function):
    rows = await rabbitmq.table("list_consumers", "queue_name")
    return [row["queue_name"] for row in rows].count(inbox(function).name)


@hasty
async def test_what_was_confirmed_is_delivered_through_losses(
    rabbitmq, broker, function, new, box, soon
):
    """Sends, while the connections are closed again and again."""
    confirmed = []
    await broker.declare([inbox(function)])

    async def send():
        for _ in range(300):
            sent = new()
            await soon(stored(broker, function, sent))
            confirmed.append(sent.id)

    async with broker.consume(inbox(function), box, prefetch=50):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(send())
            for _ in range(5):
                await rabbitmq.close_connections(function)
        while not set(confirmed) <= set(box.seen):
            await box.comes()
    assert len(confirmed) == 1_200


async def test_a_message_for_nowhere_costs_nobody_else_his_publishing(broker, function, new):
    await broker.declare([inbox(function)])
    for _ in range(3):
        with pytest.raises(BrokerUnavailable, match="404 NOT_FOUND"):
            await broker.publish(Route("nowhere", "key", name="nowhere"), new())
        await broker.publish(to_function(function), new())
    assert await broker.depth(inbox(function)) == 3


async def test_an_open_request_ends_with_its_connection(rabbitmq, broker, function, new, soon):
    queue, asked = rpc_queue(function, 10), asyncio.Event()
    await broker.declare([queue])
    consumer = broker.consume(queue, lambda _: asked.set(), prefetch=1)
    async with consumer, asyncio.TaskGroup() as calls:
        call = calls.create_task(unavailable(broker.request(to_rpc(function), new(wait=600))))
        await soon(asked.wait())
        await rabbitmq.close_connections(f"{function} (publishing)")
        await soon(call)


async def test_requests_go_on_after_losses(rabbitmq, broker, function, new, soon):
    queue = rpc_queue(function, 100)

    def answer(delivery):
        with suppress(BrokerUnavailable):  # Then the caller's time runs out.
            broker.reply(delivery.message, new(delivery.message.body))
        delivery.ack()

    await broker.declare([queue])
    async with broker.consume(queue, answer, prefetch=10):
        for _ in range(3):
            await rabbitmq.close_connections(function)
            assert await soon(answered(broker, function, new)) == b"[1]"


async def answered(broker, function, new):
    while True:
        try:
            return (await broker.request(to_rpc(function), new(b"[1]", wait=1))).body
        except (BrokerUnavailable, InvocationTimeout):
            await asyncio.sleep(0)


async def test_a_full_line_refuses_at_once(broker, function, new, soon):
    queue, taken = rpc_queue(function, 1), asyncio.Event()
    await broker.declare([queue])
    consumer = broker.consume(queue, lambda _: taken.set(), prefetch=1)
    async with consumer, asyncio.TaskGroup() as calls:
        first = calls.create_task(broker.request(to_rpc(function), new(wait=600)))
        await soon(taken.wait())
        second = calls.create_task(broker.request(to_rpc(function), new(wait=600)))
        while await broker.depth(queue) < 1:
            pass
        with pytest.raises(Throttled):
            await soon(broker.request(to_rpc(function), new(wait=600)))
        first.cancel()
        second.cancel()


@hasty
@pytest.mark.disruptive
async def test_a_blocked_broker_keeps_its_consumers(rabbitmq, broker, function, new, box, soon):
    sent = [new() for _ in range(5)]
    await broker.declare([inbox(function)])
    for one in sent:
        await soon(stored(broker, function, one))
    await rabbitmq.raise_memory_alarm()
    async with asyncio.TaskGroup() as tasks:
        # It is the first publish under an alarm that the broker answers with connection.blocked.
        tasks.create_task(soon(publish_until_blocked(broker, function, new)))
        async with broker.consume(inbox(function), box, prefetch=1):
            for one in sent:
                await box.sees(one.id)
    assert not broker.ready
    await rabbitmq.clear_memory_alarm()
    await soon(stored(broker, function, new()))
    assert broker.ready


async def publish_until_blocked(broker, function, new):
    told = ""
    while "takes no messages now" not in told:
        try:
            await broker.publish(to_function(function), new())
        except BrokerUnavailable as error:
            told = str(error)


async def test_what_was_not_answered_goes_to_another(
    rabbitmq, broker, function, new, box, soon, until
):
    held = []
    await broker.declare([inbox(function)])
    async with (
        RabbitBroker(rabbitmq.url, name="other", connect_timeout=30) as other,
        broker.consume(inbox(function), held.append, prefetch=1) as subscription,
    ):
        sent = new()
        await broker.publish(to_function(function), sent)
        await until(lambda: held)
        await subscription.stop()
        async with other.consume(inbox(function), box, prefetch=1):
            await rabbitmq.close_connections(f"{function} (consuming)")
            await box.sees(sent.id)
    held[0].ack()
    assert len(held) == 1
    assert box.seen == [sent.id]


async def test_odd_messages_of_another_system_are_delivered_all_the_same(
    rabbitmq, broker, box, caplog
):
    queue = named(f"foreign.{uuid4().hex}")
    await broker.declare([queue])
    odd = (
        {},
        {"headers": {"em-attempt": "x", "em-time": "y", "em-timeout": [1], "em-trigger": 5}},
        {"content_type": "image/png", "message_id": "ß" * 100},
        {"headers": {"deep": {"a": {"b": {"c": [[[[]]]]}}}}},
    )
    async with await aio_pika.connect(rabbitmq.url) as client:
        channel = await client.channel()
        for properties in odd:
            message = aio_pika.Message(b"\xff", **properties)
            await channel.default_exchange.publish(message, routing_key=queue.name)
    async with broker.consume(queue, box, prefetch=10):
        await broker.publish(to_queue(queue), Message(b"", "last", 1.0))
        await box.sees("last")
    assert len(box.seen) == len(odd) + 1
    assert "started again" not in caplog.text
