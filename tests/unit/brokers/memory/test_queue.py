"""Places in a queue, redeliveries, and the queue of synchronous callers."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import InvocationTimeout, Throttled
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, rpc_queue, to_function, to_rpc
from eventmesh.testing.clock import ManualClock

PLACE = inbox("shop.place")
TO_PLACE = to_function("shop.place")
LINE = rpc_queue("shop.place", 2)
TO_LINE = to_rpc("shop.place")


def bodies(deliveries):
    return [delivery.message.body for delivery in deliveries]


@given(order=st.permutations(range(6)), answered=st.sets(st.integers(0, 5)))
async def test_what_comes_back_takes_its_old_place(order, answered):
    async with MemoryBroker() as broker:
        taken, again = [], []
        await broker.declare([PLACE])
        for number in range(8):
            await broker.publish(TO_PLACE, Message(bytes([number]), str(number), 0.0))
        async with broker.consume(PLACE, taken.append, prefetch=6) as subscription:
            await subscription.stop()
            for number in order:
                if number in answered:
                    taken[number].requeue()
        async with broker.consume(PLACE, again.append, prefetch=8):
            assert bodies(again) == [bytes([number]) for number in range(8)]
    assert [delivery.losses for delivery in again] == [
        0 if number in answered or number > 5 else 1 for number in range(8)
    ]


async def test_every_lost_consumer_counts(broker, message):
    await broker.declare([PLACE])
    await broker.publish(TO_PLACE, message())
    for lost in range(3):
        taken = []
        async with broker.consume(PLACE, taken.append, prefetch=1):
            assert taken[0].losses == lost
            taken[0].requeue()
            await asyncio.sleep(0)
            assert taken[1].losses == lost


async def test_requeueing_at_once_lets_others_run(broker, message):
    deliveries = 0

    def deliver(delivery):
        nonlocal deliveries
        deliveries += 1
        delivery.requeue()

    await broker.declare([PLACE])
    for _ in range(3):
        await broker.publish(TO_PLACE, message())
    async with broker.consume(PLACE, deliver, prefetch=10):
        before = deliveries
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert before < deliveries <= 9


async def test_answering_a_long_backlog_at_once_is_no_recursion(broker, message):
    answered = 0

    def deliver(delivery):
        nonlocal answered
        answered += 1
        delivery.ack()

    await broker.declare([PLACE])
    for _ in range(5000):
        await broker.publish(TO_PLACE, message())
    async with broker.consume(PLACE, deliver, prefetch=1):
        assert answered == 5000


async def test_a_message_whose_caller_is_gone_is_dropped_from_a_line(broker, message, clock):
    taken = []
    await broker.declare([LINE])
    async with asyncio.TaskGroup() as calls:
        calls.create_task(timed_out(broker.request(TO_LINE, message(b"late", wait=5))))
        calls.create_task(timed_out(broker.request(TO_LINE, message(b"in time", wait=50))))
        await clock.advance(5)
        async with broker.consume(LINE, taken.append, prefetch=10):
            assert bodies(taken) == [b"in time"]
        assert await broker.depth(LINE) == 1
        await clock.advance(45)


async def test_asynchronous_work_outlives_its_deadline(broker, message, clock):
    await broker.declare([PLACE])
    await broker.publish(TO_PLACE, message(b"late", wait=5))
    await clock.advance(60)
    assert (await broker.get(PLACE)).message.body == b"late"


async def test_a_timed_out_request_makes_room_in_the_line(broker, message, clock):
    await broker.declare([LINE])
    async with asyncio.TaskGroup() as calls:
        for wait in (5, 50):
            calls.create_task(timed_out(broker.request(TO_LINE, message(wait=wait))))
        await clock.settle()
        with pytest.raises(Throttled):
            await broker.request(TO_LINE, message(wait=1))
        await clock.advance(5)
        assert await broker.depth(LINE) == 1
        await clock.advance(45)
    assert await broker.depth(LINE) == 0


async def timed_out(request):
    with pytest.raises(InvocationTimeout):
        await request


async def test_a_cancelled_request_is_taken_out_of_the_line(broker, message, clock):
    await broker.declare([LINE])
    async with asyncio.TaskGroup() as calls:
        call = calls.create_task(broker.request(TO_LINE, message(wait=50)))
        await clock.settle()
        assert await broker.depth(LINE) == 1
        call.cancel()
    assert await broker.depth(LINE) == 0
    assert broker.idle


async def test_a_request_of_a_stopped_consumer_is_taken_out_when_it_is_over(broker, message, clock):
    taken = []
    await broker.declare([LINE])
    async with asyncio.TaskGroup() as calls:
        async with broker.consume(LINE, taken.append, prefetch=1):
            calls.create_task(timed_out(broker.request(TO_LINE, message(wait=5))))
            await clock.settle()
            assert len(taken) == 1
        assert await broker.depth(LINE) == 1
        await clock.advance(5)
    assert await broker.depth(LINE) == 0


async def test_a_request_that_is_late_already_says_so(broker, message, clock):
    await broker.declare([LINE])
    late = message(wait=5)
    await clock.advance(6)
    with pytest.raises(InvocationTimeout, match=r"shop\.place was not called"):
        await broker.request(TO_LINE, late)


async def test_an_answered_request_leaves_no_timer_behind(message):
    timers = []

    class WatchedClock(ManualClock):
        def call_later(self, delay, callback):
            timers.append(super().call_later(delay, callback))
            return timers[-1]

    async with MemoryBroker(WatchedClock()) as broker:
        await broker.declare([LINE])
        async with broker.consume(LINE, answer_at_once(broker), prefetch=1):
            await broker.request(TO_LINE, message(wait=5))
    assert [timer.pending for timer in timers] == [False]


def answer_at_once(broker):
    def deliver(delivery):
        broker.reply(delivery.message, delivery.message)
        delivery.ack()

    return deliver


async def test_in_a_line_of_no_length_nobody_waits(broker, message):
    taken = []
    await broker.declare([rpc_queue("shop.place", 0)])
    with pytest.raises(Throttled):
        await broker.publish(TO_LINE, message())
    async with broker.consume(LINE, taken.append, prefetch=1):
        await broker.publish(TO_LINE, message())
        with pytest.raises(Throttled):
            await broker.publish(TO_LINE, message())
    assert len(taken) == 1
