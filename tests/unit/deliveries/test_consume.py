"""The one loop: what is taken is handled or requeued, whatever happens meanwhile."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import chain

import pytest

from eventmesh.aio.clock import sleep
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.deliveries.consume import BatchConsumerSpec, ConsumerSpec, run_consumers
from eventmesh.deliveries.hand_back import HandBack
from eventmesh.engine.spec import Batching
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import named, to_queue

QUEUE = named("jobs")


@pytest.fixture
def put(broker, message):
    """Puts numbered messages into a queue."""

    async def put(*numbers, queue=QUEUE):
        await broker.declare([queue])
        for number in numbers:
            await broker.publish(to_queue(queue), message(b"%d" % number))

    return put


@pytest.fixture
def waiting(broker):
    """The numbers of the messages that wait in a queue, in their order; takes them out."""

    async def waiting(queue=QUEUE):
        numbers = []
        while (delivery := await broker.get(queue)) is not None:
            assert delivery.losses == 0
            numbers.append(int(delivery.message.body))
            delivery.ack()
        return numbers

    return waiting


@pytest.fixture
def spec(broker, clock):
    """How a queue is consumed, and what is not handled goes back to it."""

    def spec(queue, handle, workers, *, finish=False):
        return ConsumerSpec(queue, handle, workers, HandBack(broker, clock), finish=finish)

    return spec


@pytest.fixture
def consume(broker, clock):
    def consume(*consumptions):
        return run_consumers(broker, clock, consumptions)

    return consume


class Work:
    """Handles deliveries, each for a second of the clock, and knows of all that it handled."""

    def __init__(self, clock, takes=1.0):
        self.clock = clock
        self.takes = takes
        self.begun = []
        self.ended = []
        self.running = 0
        self.most_at_once = 0

    async def handle(self, delivery):
        self.begun.append(int(delivery.message.body))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            if self.takes:
                await sleep(self.clock, self.takes)
        except asyncio.CancelledError:
            delivery.requeue()
            raise
        finally:
            self.running -= 1
        self.ended.append(int(delivery.message.body))
        delivery.ack()

    async def handle_batch(self, deliveries):
        self.begun.append([int(delivery.message.body) for delivery in deliveries])
        try:
            if self.takes:
                await sleep(self.clock, self.takes)
        except asyncio.CancelledError:
            for delivery in reversed(deliveries):
                delivery.requeue()
            raise
        for delivery in deliveries:
            delivery.ack()


@pytest.fixture
def work(clock):
    return Work(clock)


@pytest.mark.parametrize("numbers", [(1, 3, 1), (3, 2, 2), (3, 9, 3)])
async def test_as_many_are_handled_at_once_as_there_are_workers(
    clock, work, put, consume, numbers, spec
):
    workers, messages, at_once = numbers
    await put(*range(messages))
    async with consume(spec(QUEUE, work.handle, workers)):
        await clock.advance(messages)
        assert work.ended == list(range(messages))
        assert work.most_at_once == at_once


async def test_what_never_waits_is_handled_by_one_worker_in_order(clock, put, consume, spec):
    work = Work(clock, takes=0)
    async with consume(spec(QUEUE, work.handle, 100)):
        await clock.settle()
        before = len(asyncio.all_tasks())
        await put(*range(500))
        await clock.settle()
        assert work.ended == list(range(500))
        # One that handles, and the one that stands ready for when it waits.
        assert len(asyncio.all_tasks()) - before <= 1


async def ended_so_far(work):
    return len(work.ended)


async def test_others_get_to_run_while_deliveries_wait(clock, put, consume, spec):
    work = Work(clock, takes=0)
    await put(*range(1000))
    async with consume(spec(QUEUE, work.handle, 1000)):
        turn = asyncio.create_task(ended_so_far(work))
        assert 0 < await turn < 1000


async def test_leaving_waits_for_what_has_begun_and_hands_back_the_rest(
    clock, work, put, waiting, consume, spec
):
    await put(1, 2, 3, 4)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        await stack.enter_async_context(consume(spec(QUEUE, work.handle, 2)))
        await clock.settle()
        leaving = tasks.create_task(stack.aclose())
        await clock.settle()
        assert not leaving.done()
        await clock.advance(1)
        assert leaving.done()
    assert work.ended == [1, 2]
    assert await waiting() == [3, 4]


async def test_what_no_worker_has_begun_goes_back(broker, work, put, waiting, consume, spec):
    await put(1, 2, 3)
    async with consume(spec(QUEUE, work.handle, 3)):
        pass  # Taken from the broker by now, but no worker has had its turn.
    assert work.begun == []
    assert await waiting() == [1, 2, 3]


async def test_with_finish_what_was_taken_is_handled_and_not_requeued(
    clock, put, waiting, consume, spec
):
    work = Work(clock, takes=0)
    await put(1, 2, 3)
    async with consume(spec(QUEUE, work.handle, 2, finish=True)):
        pass
    assert work.ended == [1, 2]
    assert await waiting() == [3]


async def test_a_leaving_that_is_cancelled_cancels_the_workers_and_hands_everything_back(
    clock, work, put, waiting, consume, spec
):
    await put(1, 2, 3)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        await stack.enter_async_context(consume(spec(QUEUE, work.handle, 2, finish=True)))
        await clock.settle()
        leaving = tasks.create_task(stack.aclose())
        await clock.settle()
        leaving.cancel()
        await clock.settle()
        assert leaving.cancelled()
    assert (work.begun, work.ended) == ([1, 2], [])
    assert sorted(await waiting()) == [1, 2, 3]


async def test_a_block_that_is_cancelled_does_not_wait_for_the_workers(
    clock, work, put, waiting, consume, spec
):
    await put(1)

    async def run():
        async with consume(spec(QUEUE, work.handle, 1)):
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    await clock.settle()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert work.begun == [1]
    assert await waiting() == [1]


async def test_a_worker_that_dies_ends_the_others_and_is_heard_of(
    broker, work, put, waiting, consume, spec
):
    async def handle(delivery):
        if delivery.message.body == b"2":
            raise ZeroDivisionError("a bug of ours")
        await work.handle(delivery)

    await put(1, 2, 3)
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError, match="a bug of ours")):
        async with consume(spec(QUEUE, handle, 3)):
            await asyncio.Event().wait()
    assert work.ended == []
    # What its worker died of was not answered, which counts; the others went back untouched.
    left = [await broker.get(QUEUE) for _ in range(3)]
    assert {int(one.message.body): one.losses for one in left} == {1: 0, 2: 1, 3: 0}


async def test_what_cannot_be_consumed_raises_as_it_is(clock, work, spec):
    with pytest.raises(BrokerUnavailable):
        async with run_consumers(MemoryBroker(clock), clock, [spec(QUEUE, work.handle, 1)]):
            pass


async def test_an_error_of_the_block_is_raised_as_it_is_when_the_work_has_ended(
    clock, work, put, consume, spec
):
    await put(1)

    async def fail():
        async with consume(spec(QUEUE, work.handle, 1)):
            await clock.settle()
            raise ValueError("of the block")

    failing = asyncio.create_task(fail())
    await clock.settle()
    assert not failing.done()
    await clock.advance(1)
    assert work.ended == [1]
    with pytest.raises(ValueError, match="of the block"):
        await failing


async def test_all_queues_stop_before_any_worker_is_waited_for(
    broker, clock, work, put, waiting, spec
):
    other = named("other")
    await put(1)
    await put(2, queue=other)
    consumptions = [spec(QUEUE, work.handle, 1), spec(other, work.handle, 1)]
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        await stack.enter_async_context(run_consumers(broker, clock, consumptions))
        await clock.settle()
        tasks.create_task(stack.aclose())
        await clock.settle()
        await put(3)
        await put(4, queue=other)
        await clock.advance(1)
    assert sorted(work.ended) == [1, 2]
    assert await waiting() == [3]
    assert await waiting(other) == [4]


async def test_what_is_delivered_is_handled_before_all_queues_are_consumed(
    broker, clock, put, spec, monkeypatch, soon
):
    """A process that takes a while to start, and is killed meanwhile, has not kept all work."""
    consume, handled = broker.consume, asyncio.Event()

    @asynccontextmanager
    async def consume_when_handled(queue, deliver, *, prefetch):
        if queue != QUEUE:
            await handled.wait()
        async with consume(queue, deliver, prefetch=prefetch) as subscription:
            yield subscription

    async def handle(delivery):
        delivery.ack()
        handled.set()

    monkeypatch.setattr(broker, "consume", consume_when_handled)
    await put(1)
    other = named("other")
    await broker.declare([other])
    consuming = run_consumers(broker, clock, [spec(QUEUE, handle, 1), spec(other, handle, 1)])
    await soon(consuming.__aenter__())
    await consuming.__aexit__(None, None, None)
    assert await broker.depth(QUEUE) == 0


class TestBatches:
    """Batches of one queue."""

    @pytest.fixture
    def work(self, clock):
        return Work(clock, takes=0.0)

    @pytest.fixture
    def consume(self, broker, clock, work):
        def consume(size, window=0.0, workers=1):
            consumption = BatchConsumerSpec(
                QUEUE,
                work.handle_batch,
                workers,
                HandBack(broker, clock),
                Batching(size, window),
            )
            return run_consumers(broker, clock, [consumption])

        return consume

    async def test_what_waits_makes_full_batches(self, clock, work, put, consume):
        await put(*range(230))
        async with consume(50, workers=8):
            await clock.advance(8)
        assert [len(batch) for batch in work.begun] == [50, 50, 50, 50, 30]
        assert list(chain(*work.begun)) == list(range(230))

    async def test_a_full_batch_does_not_wait(self, clock, work, put, consume):
        async with consume(3, window=60.0, workers=2):
            await put(1, 2)
            await clock.settle()
            assert work.begun == []
            await put(3, 4)
            await clock.settle()
            assert work.begun == [[1, 2, 3]]
            await clock.advance(60)
        assert work.begun == [[1, 2, 3], [4]]

    async def test_a_batch_that_is_not_full_waits_for_the_window(self, clock, work, put, consume):
        async with consume(3, window=0.2):
            await put(1)
            await clock.advance(0.15)
            await put(2)
            assert work.begun == []
            await clock.advance(0.05)
            assert work.begun == [[1, 2]]

    async def test_without_a_window_what_there_is_makes_the_batch(self, clock, work, put, consume):
        async with consume(10):
            await put(1, 2)
            await clock.settle()
            assert work.begun == [[1, 2]]

    async def test_a_batch_that_is_being_filled_when_the_intake_stops_is_handled(
        self, clock, work, put, consume
    ):
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            await stack.enter_async_context(consume(3, window=60.0, workers=2))
            await put(1, 2)
            await clock.settle()
            tasks.create_task(stack.aclose())
            await clock.advance(1)
        assert work.begun == [[1, 2]]

    async def test_a_batch_that_is_being_filled_when_all_is_cancelled_goes_back(
        self, clock, work, put, consume, waiting
    ):
        async def run():
            async with consume(3, window=60.0):
                await asyncio.Event().wait()

        running = asyncio.create_task(run())
        await put(1, 2)
        await clock.settle()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert work.begun == []
        assert await waiting() == [1, 2]

    async def test_two_workers_do_not_each_collect_half_a_batch(self, clock, work, put, consume):
        async with consume(4, window=0.5, workers=2):
            await put(1)
            await clock.settle()
            await put(2)
            await clock.advance(0.5)
            assert work.begun == [[1, 2]]

    async def test_one_batch_may_be_larger_than_the_prefetch_of_many(
        self, clock, work, put, consume
    ):
        await put(*range(2500))
        async with consume(2500):
            await clock.advance(1)
        assert [len(batch) for batch in work.begun] == [2500]
