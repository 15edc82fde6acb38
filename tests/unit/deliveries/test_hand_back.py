"""What is handed back: stored anew before a broker's count of losses says what is not so."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.aio.clock import sleep
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.deliveries.hand_back import HAND_BACK_SECONDS, HandBack, Renewal
from eventmesh.engine.context import Context
from eventmesh.engine.settlement import MAX_HAND_BACKS
from eventmesh.host import host_services
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.message import Message
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox, named, to_queue
from eventmesh.service import Service
from eventmesh.testing.clock import ManualClock
from eventmesh.triggers import on

INBOX = inbox("app.work")
OFTEN = MAX_HAND_BACKS


class Counted:
    """A delivery that was lost so often, as its broker counts."""

    def __init__(self, message, number=1, *, losses=OFTEN):
        self.message = message
        self.number = number
        self.losses = losses
        self.redeliveries = losses + 3
        self.held = True
        self.stale = False
        self.settled = ""

    def ack(self):
        self.held, self.settled = False, "ack"

    def requeue(self):
        self.held, self.settled = False, "requeue"


@pytest.fixture
def hand_back(broker, clock):
    return HandBack(broker, clock, Renewal(to_queue(INBOX), lambda message: message))


async def test_what_was_handed_back_often_is_stored_anew(broker, message, hand_back):
    await broker.declare([INBOX])
    often = Counted(message(b"1"), 2)
    seldom = Counted(message(b"2"), 1, losses=OFTEN - 1)
    for delivery in (often, seldom):
        hand_back.add(delivery)
    await hand_back.flush()
    assert (often.settled, seldom.settled) == ("ack", "requeue")
    again = await broker.get(INBOX)
    assert (again.losses, again.redeliveries) == (0, OFTEN + 4)
    assert replace(again.message, redeliveries=0) == often.message
    assert await broker.get(INBOX) is None


class Refusing(MemoryBroker):
    async def publish(self, route, message, *, delay=0.0, give_up=True):
        raise BrokerUnavailable("an alarm")


class Silent(MemoryBroker):
    def __init__(self, clock):
        super().__init__(clock)
        self.clock = clock

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        await sleep(self.clock, 3600)


@pytest.mark.parametrize(("kind", "why"), [(Refusing, "an alarm"), (Silent, "more than 5 s")])
async def test_what_cannot_be_stored_anew_is_requeued(clock, message, caplog, kind, why):
    async with kind(clock) as broker:
        hand_back = HandBack(broker, clock, Renewal(to_queue(INBOX), lambda message: message))
        deliveries = [Counted(message(), number) for number in range(3)]
        for delivery in deliveries:
            hand_back.add(delivery)
        clock.call_later(HAND_BACK_SECONDS, lambda: None)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hand_back.flush())
            await clock.advance(HAND_BACK_SECONDS)
    assert [delivery.settled for delivery in deliveries] == ["requeue"] * 3
    assert why in caplog.text


async def test_where_nothing_is_counted_nothing_is_stored_anew(broker, clock, message):
    delivery = Counted(message())
    hand_back = HandBack(broker, clock)
    hand_back.add(delivery)
    await hand_back.flush()
    assert delivery.settled == "requeue"


@pytest.mark.parametrize("trigger", ["inbox", "queue"])
async def test_a_service_stores_it_in_the_inbox_and_runs_it_as_before(
    start, broker, clock, message, trigger, monkeypatch
):
    """From a queue of the users' own, too: there it may have no right to publish."""
    monkeypatch.setattr("eventmesh.deliveries.hand_back.MAX_HAND_BACKS", 0)
    app, seen = Service("app"), []
    queue = named("jobs") if trigger == "queue" else INBOX

    @app.function(*[on.queue("jobs")] * (trigger == "queue"))
    async def work(ctx: Context) -> None:
        seen.append((ctx.id, ctx.attempt, ctx.redeliveries, ctx.trigger))
        await sleep(clock, 10)

    await broker.declare([queue])
    await broker.publish(to_queue(queue), message(id="a-1"))
    async with start(app, grace=0):
        await clock.settle()
    assert await broker.depth(INBOX) == 1
    async with start(app):
        await clock.advance(10)
    fired = "queue" if trigger == "queue" else "invoke"
    assert seen == [("a-1", 1, 0, fired), ("a-1", 1, 1, fired)]
    assert await broker.depth(dead_letters("app.work")) == 0


ROUNDS = st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=15)


@given(rounds=ROUNDS)
async def test_with_concurrency_1_the_order_survives_drains_and_kills(rounds):
    clock, app, total = ManualClock(), Service("app"), 8
    ended, may_end = [], 0

    @app.function(concurrency=1)
    async def work(number: int, ctx: Context) -> None:
        nonlocal may_end
        assert ctx.attempt == 1
        if not may_end:
            await asyncio.Event().wait()
        may_end -= 1
        ended.append(number)

    async with MemoryBroker(clock) as broker:
        await broker.declare([INBOX])
        for number in range(total):
            body = b'{"number": %d}' % number
            await broker.publish(to_queue(INBOX), Message(body, str(number), clock.now()))
        for killed, more in [*rounds, (False, total)]:
            may_end = more
            if killed:
                async with broker.consume(INBOX, lambda _: None, prefetch=1):
                    pass
            async with host_services([app], broker, Settings(grace=0), clock=clock, http=None):
                await clock.settle()
    assert ended == list(range(total))


async def test_after_a_kill_the_second_run_knows_that_it_is_the_second(
    start, broker, clock, message, caplog
):
    caplog.set_level("INFO")
    app, seen = Service("app"), []

    @app.function(retry=Retry(2, initial=1, jitter="none"))
    async def work(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.redeliveries))
        raise ValueError("no")

    await broker.declare([INBOX])
    await broker.publish(to_queue(INBOX), message())
    for _ in range(2):
        async with broker.consume(INBOX, lambda _: None, prefetch=1):
            pass
    async with start(app):
        await clock.advance(1)
    assert seen == [(1, 2), (2, 0)]
    records = [each for each in caplog.records if each.name == "eventmesh.invocations"]
    assert [getattr(each, "redeliveries", None) for each in records] == [2, None]


@pytest.mark.parametrize("ours", [True, False])
async def test_what_was_lost_in_a_queue_of_another_system_is_counted_in_the_inbox(
    start, broker, clock, message, ours
):
    app, seen = Service("app"), []
    theirs = named("theirs", declare=ours)

    @app.function(on.queue("theirs", declare=ours))
    async def work(ctx: Context) -> None:
        seen.append((ctx.id, ctx.attempt, ctx.trigger, ctx.redeliveries))
        await sleep(clock, 10)

    await broker.declare([named("theirs")])
    await broker.publish(to_queue(theirs), message(id="a-1", timestamp=0.0))
    async with broker.consume(theirs, lambda _: None, prefetch=1):
        pass  # It killed its process.
    async with start(app):
        await clock.settle()
        statistics = broker.statistics()
        assert statistics["theirs"].unacked == ours
        assert statistics[INBOX.name].unacked == (not ours)
        await clock.advance(10)
    assert seen == [("a-1", 1, "queue", 1)]
