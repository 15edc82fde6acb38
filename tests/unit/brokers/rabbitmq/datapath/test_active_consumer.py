"""The AMQP consumers that make up a prefetch, as it changes and as deliveries are settled."""

import asyncio

import pytest
from pamqp import commands

from eventmesh.brokers.rabbitmq.datapath.active_consumer import ActiveConsumer
from eventmesh.model.errors import BrokerUnavailable

QUEUE = "em.inbox.shop.place"


class Consumed:
    """A consumer of a queue, with a server that counts what it may deliver."""

    def __init__(self, connection, channel, session, soon):
        self.session, self.soon = session, soon
        self.delivered = asyncio.Queue()
        self.consumer = ActiveConsumer(connection, channel, QUEUE, 3, self.build)
        self.tags = 0
        self.ended = None

    def build(self, acks):
        self.acks = acks

        def on_delivery(tag, properties, body, *, redelivered):
            acks.add(tag)
            self.delivered.put_nowait(tag)

        return on_delivery

    async def deliver(self, count):
        """Deliver to the consumer that was started last, and return the tags."""
        for _ in range(count):
            self.tags += 1
            self.session.deliver(1, self.consumers[-1][0], self.tags)
        return [await self.soon(self.delivered.get()) for _ in range(count)]

    async def resize(self, prefetch):
        self.consumer.prefetch = prefetch
        await self.soon(self.consumer.adjust())

    async def settle(self, tags):
        """Acknowledge these, and adjust if that is due now."""
        for tag in tags:
            self.acks.ack(tag)
        self.acks.flush()
        waiting = asyncio.ensure_future(self.consumer.wait())
        for _ in range(5):
            await asyncio.sleep(0)
        if waiting.done():
            assert waiting.result() is None
            await self.soon(self.consumer.adjust())
        else:
            waiting.cancel()

    @property
    def consumers(self):
        """The consumers that the server has, in their order, with their prefetch."""
        consumers, prefetch = {}, 0
        for method in self.session.methods:
            match method:
                case commands.Basic.Qos():
                    assert not method.global_
                    prefetch = method.prefetch_count
                case commands.Basic.Consume():
                    consumers[method.consumer_tag] = prefetch
                case commands.Basic.Cancel():
                    del consumers[method.consumer_tag]
        return list(consumers.items())

    @property
    def prefetches(self):
        return [prefetch for _, prefetch in self.consumers]


@pytest.fixture
async def consumed(connection, channel, session, soon):
    consumed = Consumed(connection, channel, session, soon)
    await soon(consumed.consumer.adjust())
    return consumed


async def test_more_is_another_consumer_until_nothing_is_held(consumed):
    tags = await consumed.deliver(3)
    await consumed.resize(10)
    assert consumed.prefetches == [3, 7]
    tags += await consumed.deliver(2)
    await consumed.settle(tags[1:])
    assert consumed.prefetches == [3, 7]
    await consumed.settle(tags[:1])
    assert consumed.prefetches == [10]


async def test_what_is_held_counts_against_a_smaller_prefetch(consumed):
    await consumed.resize(10)
    tags = await consumed.deliver(9)
    await consumed.resize(3)
    assert consumed.prefetches == []
    await consumed.settle(tags[:6])
    assert consumed.prefetches == []
    await consumed.settle(tags[6:7])
    assert consumed.prefetches == [1]
    more = await consumed.deliver(1)
    await consumed.settle(tags[7:])
    assert consumed.prefetches == [1, 2]
    await consumed.settle(more)
    assert consumed.prefetches == [3]
    # There is nothing left to be adjusted: later settlements are not looked at.
    assert consumed.acks.on_settled is None


async def test_what_is_delivered_while_it_is_cancelled_counts(consumed, soon):
    del consumed.session.answers[commands.Basic.Cancel]
    consumed.consumer.prefetch = 2
    async with asyncio.TaskGroup() as tasks:
        adjusting = tasks.create_task(soon(consumed.consumer.adjust()))
        cancel = await consumed.session.next(commands.Basic.Cancel)
        consumed.session.deliver(1, cancel.consumer_tag, 1)
        consumed.session.send(1, commands.Basic.CancelOk(cancel.consumer_tag))
    assert adjusting.done()
    assert consumed.prefetches == [1]


async def test_what_is_settled_while_a_consumer_starts_is_not_overlooked(consumed, soon):
    await consumed.session.next(commands.Basic.Consume)
    (tag,) = await consumed.deliver(1)
    started = consumed.session.answers.pop(commands.Basic.Consume)
    consumed.consumer.prefetch = 2
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(soon(consumed.consumer.adjust()))
        consume = await consumed.session.next(commands.Basic.Consume)
        assert consumed.prefetches == [1]
        consumed.acks.ack(tag)
        consumed.acks.flush()
        consumed.session.send(1, commands.Basic.ConsumeOk(consume.consumer_tag))
    consumed.session.answers[commands.Basic.Consume] = started
    assert await soon(consumed.consumer.wait()) is None
    await soon(consumed.consumer.adjust())
    assert sum(consumed.prefetches) == 2


async def test_a_channel_that_ends_meanwhile_is_said(consumed, soon):
    consumed.session.answers.pop(commands.Basic.Cancel)
    consumed.consumer.prefetch = 2
    async with asyncio.TaskGroup() as tasks:
        adjusting = tasks.create_task(soon(refused(consumed.consumer.adjust())))
        await consumed.session.next(commands.Basic.Cancel)
        consumed.session.cut()
    assert adjusting.done()
    assert await soon(consumed.consumer.wait()) is not None


async def refused(adjusting):
    with pytest.raises(BrokerUnavailable):
        await adjusting
