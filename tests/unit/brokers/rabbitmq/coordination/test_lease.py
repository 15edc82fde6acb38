"""Which states a lease holds, whenever its two connections bring what: never none that counts."""

import asyncio
from contextlib import asynccontextmanager
from itertools import count, repeat
from types import SimpleNamespace

import pytest
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from eventmesh.brokers.rabbitmq.coordination import lease as module
from eventmesh.brokers.rabbitmq.coordination.lease import EPOCH, NUMBER, RabbitLease, hold_lease
from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.model.errors import BrokerUnavailable


class Node:
    """A queue with one consumer, and the channels to it; a test holds up what goes either way."""

    def __init__(self):
        self.delivering, self.publishing = asyncio.Event(), asyncio.Event()
        self.delivering.set()
        self.publishing.set()
        self.fault = None
        self.acked = asyncio.Queue()
        self.closing = asyncio.get_running_loop().create_future()
        self.on_consumer_cancel_callbacks = set()
        self._stored = {}
        self._tags = count(1)
        self._came = asyncio.Queue()

    @property
    def states(self):
        """What whoever comes next would find."""
        return [message.body for message in self._stored.values() if _is_state(message)]

    async def deliver(self):
        while True:
            message = await self._came.get()
            await self.delivering.wait()
            await self._consume(message)

    async def basic_qos(self, *, prefetch_count): ...

    async def basic_consume(self, queue, consume):
        self._consume = consume

    async def basic_ack(self, tag, *, wait):
        del wait
        message = self._stored.pop(tag)
        if _is_state(message):
            self.acked.put_nowait(message.body)

    async def basic_publish(self, body, *, exchange, routing_key, properties, mandatory):
        await self.publishing.wait()
        if self.fault:
            raise self.fault
        tag = next(self._tags)
        header = SimpleNamespace(properties=properties)
        self._stored[tag] = SimpleNamespace(body=body, header=header, delivery_tag=tag)
        self._came.put_nowait(self._stored[tag])


def _is_state(message):
    return EPOCH in (message.header.properties.headers or {})


NACK = DeliveryError(None, Basic.Nack(1))
NO_ROUTE = PublishError(
    SimpleNamespace(delivery=Basic.Return(312, "NO_ROUTE", "em.own.shop", "em.timers.shop")),
    Basic.Return(312, "NO_ROUTE", "em.own.shop", "em.timers.shop"),
)


class Channel:
    """One to a node; what refuses its first message refuses all of them."""

    def __init__(self, node, fault):
        self._node = node
        self._fault = fault

    def __getattr__(self, name):
        return getattr(self._node, name)

    async def basic_publish(self, body, **options):
        if self._fault:
            raise self._fault
        await self._node.basic_publish(body, **options)


class Connections:
    """A process at a node: it opens a channel for each of `faults`, and then sound ones."""

    user = own_exchange = ""

    def __init__(self, node, faults=(), away=0):
        self._node = node
        self._faults = iter(faults)
        self._away = away
        self.connection = self
        self.publish_connection = self
        self.closed_for_good = False

    async def make_own(self, queue):
        if self._away:
            self._away -= 1
            raise QueueAway(f"home node of {queue.name} is down or inaccessible")

    def find_owners(self, name):
        return frozenset()

    @asynccontextmanager
    async def channel(self, *, confirms=False):
        yield Channel(self._node, next(self._faults, None) if confirms else None)


@pytest.fixture
async def node():
    node = Node()
    delivering = asyncio.create_task(node.deliver())
    yield node
    delivering.cancel()


@pytest.fixture
async def lease(node):
    """One that was taken, and is held."""
    lease = RabbitLease("em.timers.shop", node, node)
    await lease.take()
    holding = asyncio.create_task(lease.hold())
    yield lease
    lease.end("the test is over")
    with pytest.raises(BrokerUnavailable):
        await holding


async def acked(node, body):
    """Wait until a state is dropped: this one, and no other before it."""
    assert await node.acked.get() == body


async def test_the_latest_state_is_held_and_the_one_before_is_dropped(node, lease):
    await lease.save(b"one")
    await lease.save(b"two")
    await acked(node, b"")
    await acked(node, b"one")
    assert node.states == [b"two"]


async def test_a_refresh_never_brings_back_the_state_before(node, lease, until, monkeypatch):
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.001)
    await lease.save(b"one")  # Its delivery makes the holder look at the new interval.
    await acked(node, b"")
    node.publishing.clear()
    saving = asyncio.create_task(lease.save(b"two"))
    # Meanwhile the holder wants to store the state again, and waits for its turn.
    loop = asyncio.get_running_loop()
    due = loop.time() + 0.05
    await until(lambda: loop.time() > due)
    node.publishing.set()
    await saving
    number = lease.version.number
    await until(lambda: lease.version.number > number + 2)
    assert lease.state == b"two"


async def test_a_state_that_is_stored_outlives_the_next_that_is_not(node, lease):
    await lease.save(b"one")
    await acked(node, b"")
    node.delivering.clear()
    await lease.save(b"two")
    node.publishing.clear()
    saving = asyncio.create_task(lease.save(b"three"))
    await asyncio.sleep(0)  # Its publishing has begun.
    node.delivering.set()
    await acked(node, b"one")
    node.fault = ConnectionError("the node was killed")
    node.publishing.set()
    with pytest.raises(BrokerUnavailable, match="could not be stored"):
        await saving
    assert node.states == [b"two"]


async def test_what_one_that_was_lost_stores_late_is_dropped(node, lease):
    await lease.save(b"one")
    await acked(node, b"")
    late = {EPOCH: lease.version.epoch - 1, NUMBER: 99}
    properties = SimpleNamespace(headers=late, message_id=None)
    await node.basic_publish(
        b"late", exchange="", routing_key="", properties=properties, mandatory=True
    )
    await acked(node, b"late")
    assert node.states == [b"one"]


async def test_a_queue_that_refuses_the_first_message_is_tried_again(node, soon):
    async def take_and_save():
        async with hold_lease(Connections(node, [NACK, NO_ROUTE]), "em.timers.shop") as lease:
            await lease.save(b"one")
            await acked(node, b"")

    await soon(take_and_save())
    assert node.states == [b"one"]


async def test_a_queue_that_seems_to_be_away_while_another_makes_it_is_tried_again(node, soon):
    async def take():
        async with hold_lease(Connections(node, away=2), "em.timers.shop") as lease:
            return lease.state

    assert await soon(take()) == b""


@pytest.mark.parametrize("fault", [NACK, NO_ROUTE])
async def test_a_queue_that_refuses_on_and_on_is_given_up(node, soon, monkeypatch, fault):
    monkeypatch.setattr(module, "CALL_SECONDS", 0.2)

    async def take():
        async with hold_lease(Connections(node, repeat(fault)), "em.timers.shop"):
            pytest.fail("nothing could be stored")

    with pytest.raises(BrokerUnavailable, match=r"writing to the lease 'em.timers.shop'.*Basic"):
        await soon(take())


async def test_a_state_that_is_refused_loses_the_lease(node, lease):
    node.fault = NACK
    with pytest.raises(BrokerUnavailable, match="could not be stored"):
        await lease.save(b"one")
    node.fault = None
    with pytest.raises(BrokerUnavailable, match="is lost"):
        await lease.save(b"two")
