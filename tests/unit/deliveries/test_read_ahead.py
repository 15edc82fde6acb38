"""What is taken ahead: only while runs are short, and never for long when they are not."""

import pytest

from eventmesh import Service, on
from eventmesh.aio.clock import sleep
from eventmesh.deliveries.read_ahead import (
    AHEAD_SECONDS,
    IDLE_LOOKS,
    MAX_PREFETCH,
    MAX_WORKERS,
    PATIENCE_SECONDS,
    PAUSE_SECONDS,
)
from eventmesh.model.topology import inbox, named, to_queue

INBOX = inbox("app.work")
QUICK = 200
"""Runs after which those of a function are known to be short."""


class App:
    """A function whose first runs last for no time, and all others as long as the test says."""

    def __init__(self, clock, concurrency, *triggers, quick=QUICK):
        self.app = Service("app")
        self.app.function(*triggers, name="work", concurrency=concurrency, timeout=None)(self.work)
        self.clock = clock
        self.quick = quick
        self.lasting = 60.0
        self.begun = []

    async def work(self, number: int) -> None:
        self.begun.append(number)
        if len(self.begun) > self.quick:
            await sleep(self.clock, self.lasting)


@pytest.fixture
def put(broker, message):
    async def put(count, queue=INBOX):
        await broker.declare([queue])
        for number in range(count):
            await broker.publish(to_queue(queue), message(b'{"number": %d}' % number))

    return put


@pytest.fixture
def held(broker):
    def held(queue=INBOX):
        return broker.statistics()[queue.name].unacked

    return held


async def test_short_runs_have_more_taken_and_one_that_waits_too_long_goes_back(
    start, broker, clock, put, held
):
    app = App(clock, 4)
    await put(QUICK + 300)
    async with start(app.app, grace=0):
        await clock.settle()
        assert len(app.begun) == QUICK + 4
        assert held() == MAX_PREFETCH
        await clock.advance(2 * PATIENCE_SECONDS)
        assert held() == 4
        assert broker.statistics()[INBOX.name].ready == 296
        again = await broker.get(INBOX)
        assert (again.losses, again.redeliveries) == (0, 1)
        again.requeue()


async def test_after_that_it_pauses_however_short_the_runs_are(start, clock, put, held):
    app = App(clock, 4)
    await put(QUICK + 4)
    async with start(app.app, grace=0):
        await clock.settle()
        await put(96)
        assert held() == MAX_PREFETCH
        await clock.advance(2 * PATIENCE_SECONDS)
        assert held() == 4
        app.quick = QUICK + 4 + 96 + 2 * QUICK
        await clock.advance(60)
        assert held() == 0
        await clock.advance(PAUSE_SECONDS)
        await put(3 * QUICK)
        assert held() == MAX_PREFETCH


async def test_while_it_pauses_nothing_is_taken_ahead(start, clock, put, held):
    app = App(clock, 4)
    app.lasting = 2 * PATIENCE_SECONDS
    await put(QUICK + 300)
    async with start(app.app, grace=0):
        await clock.settle()
        app.quick = QUICK + 4 + 250
        await clock.advance(app.lasting)
        # The four have ended, and 250 more that took no time.
        assert len(app.begun) == QUICK + 4 + 250 + 4
        assert held() == 4


@pytest.mark.parametrize("concurrency", [2, 4, MAX_WORKERS])
async def test_of_long_runs_only_those_are_held_that_go_on(start, clock, put, held, concurrency):
    app = App(clock, concurrency, quick=0)
    app.lasting = 1.0
    await put(20 * concurrency)
    async with start(app.app, grace=0):
        for _ in range(15):
            await clock.advance(1)
            assert held() == concurrency
        app.quick = 1000
        await clock.advance(1)
        assert held() == 0


async def test_no_more_is_taken_than_one_worker_would_begin_at_once(start, clock, put, held):
    app = App(clock, 4, quick=0)
    app.lasting = AHEAD_SECONDS / 10
    await put(1000)
    async with start(app.app, grace=0):
        await clock.advance(0.1)
        assert 8 <= held() <= 4 + 10
        app.quick = 10_000
        await clock.advance(1)


@pytest.mark.parametrize("concurrency", [1, MAX_WORKERS + 1])
async def test_one_at_a_time_and_many_at_a_time_take_nothing_ahead(
    start, clock, put, held, concurrency
):
    app = App(clock, concurrency)
    await put(QUICK + 300)
    async with start(app.app, grace=0):
        await clock.settle()
        assert held() == concurrency


async def test_a_queue_where_a_hand_back_looks_like_a_loss_is_not_read_ahead(
    start, clock, put, held
):
    theirs = named("theirs", declare=False)
    app = App(clock, 4, on.queue("theirs", declare=False))
    await put(QUICK + 300, named("theirs"))
    async with start(app.app, grace=0):
        await clock.settle()
        assert held(theirs) == 4


async def test_a_consumer_that_is_idle_forgets_that_its_runs_were_short(start, clock, put, held):
    app = App(clock, 4)
    await put(QUICK)
    async with start(app.app, grace=0):
        await clock.advance((IDLE_LOOKS + 1) * PATIENCE_SECONDS)
        await put(50)
        await clock.settle()
        assert held() == 4


async def test_what_was_taken_ahead_goes_back_at_a_stop(start, broker, clock, put, held):
    app = App(clock, 4)
    await put(QUICK + 90)
    async with start(app.app, grace=0):
        await clock.settle()
        assert held() == 90
    numbers = []
    while (delivery := await broker.get(INBOX)) is not None:
        assert delivery.losses == 0
        numbers.append(int(delivery.message.body[11:-1]))
        delivery.ack()
    assert numbers == list(range(QUICK, QUICK + 90))
