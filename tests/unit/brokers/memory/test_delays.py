"""Delayed messages: their order, their bound, and what becomes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import Throttled
from eventmesh.model.message import Message
from eventmesh.model.topology import (
    Binding,
    Queue,
    broadcast,
    inbox,
    to_function,
    to_queue,
    to_subscribers,
)
from eventmesh.testing.clock import ManualClock

PLACE = inbox("shop.place")
TO_PLACE = to_function("shop.place")


@given(delays=st.lists(st.sampled_from([0.0, 0.1, 0.25, 1.0, 3600.0, 1e6]), max_size=12))
async def test_messages_arrive_at_their_times_in_the_order_of_their_times(delays):
    clock = ManualClock()
    start = clock.now()
    arrived = []
    async with MemoryBroker(clock) as broker:
        await broker.declare([PLACE])

        def deliver(delivery):
            arrived.append((clock.now() - start, int(delivery.message.id)))
            delivery.ack()

        async with broker.consume(PLACE, deliver, prefetch=1):
            for number, delay in enumerate(delays):
                await broker.publish(TO_PLACE, Message(b"", str(number), start), delay=delay)
            await clock.advance(1e6)

    expected = sorted((delay, number) for number, delay in enumerate(delays))
    assert [number for _, number in arrived] == [number for _, number in expected]
    assert [time for time, _ in arrived] == pytest.approx([delay for delay, _ in expected])


async def test_there_is_a_bound_to_what_is_delayed(clock, message):
    async with MemoryBroker(clock, max_delayed=2) as broker:
        await broker.declare([PLACE])
        for _ in range(2):
            await broker.publish(TO_PLACE, message(), delay=60)
        with pytest.raises(Throttled, match="2 messages are delayed"):
            await broker.publish(TO_PLACE, message(), delay=60)
        await clock.advance(60)
        await broker.publish(TO_PLACE, message(), delay=60)
        assert await broker.depth(PLACE) == 2


async def test_what_was_stored_is_kept_though_its_queue_is_full_when_it_is_due(
    broker, clock, message
):
    queue = Queue("invoices", "named", max_length=1)
    await broker.declare([queue])
    await broker.publish(to_queue(queue), message(), delay=60)
    await broker.publish(to_queue(queue), message())
    await clock.advance(60)
    assert await broker.depth(queue) == 2


async def test_a_delayed_event_goes_to_whoever_is_subscribed_when_it_is_due(broker, clock, message):
    gone = broadcast("shop.place", "i1")
    await broker.declare([gone], [Binding(gone, "a.*")])
    async with broker.consume(gone, print, prefetch=1):
        await broker.publish(to_subscribers("a.b"), message(), delay=60)
    await broker.declare([PLACE], [Binding(PLACE, "a.*")])
    await clock.advance(60)
    assert await broker.depth(PLACE) == 1


async def test_closing_forgets_what_is_delayed(clock, message):
    taken = []
    async with MemoryBroker(clock) as broker:
        await broker.declare([PLACE])
        async with broker.consume(PLACE, taken.append, prefetch=1):
            await broker.publish(TO_PLACE, message(), delay=60)
            await broker.__aexit__(None, None, None)
            await clock.advance(60)
    assert not taken
    assert broker.statistics()[PLACE.name].delayed == 0
