"""The broker stores no settlement for a while: what has run is kept, and is not run again."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.deliveries.settlement_writer import SettlementWriter
from eventmesh.engine.settlement import (
    BROKER_PAUSE,
    ERROR_TYPE,
    LONGEST_BROKER_PAUSE,
    REASON,
    repeat_pauses,
)
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionError,
    FunctionNotFound,
    PartialFailure,
    Throttled,
)
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.retry import Retry
from eventmesh.model.topology import dead_letters, inbox, named, to_queue
from eventmesh.service import Service
from eventmesh.triggers import on

INBOX = inbox("app.work")
DEAD = dead_letters("app.work")
RETRY = Retry(3, initial=60, jitter="none")
WAITING = "eventmesh_settlements_waiting"
LABELS = {"function": "app.work"}


class Away(MemoryBroker):
    """A broker that stores neither retries nor dead letters while it has an `error`."""

    def __init__(self, clock):
        super().__init__(clock)
        self.clock = clock
        self.error = None
        self.tries = []

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if delay or route.key == DEAD.name:
            self.tries.append(self.clock.now())
            if self.error is not None:
                raise self.error
        await super().publish(route, message, delay=delay, give_up=give_up)


class Failing:
    """The function `app.work`, which always fails."""

    def __init__(self, retry):
        self.runs = 0
        self.app = Service("app")
        self.app.function(name="work", retry=retry)(self.work)

    async def work(self) -> None:
        self.runs += 1
        raise KeyError("colour")


@pytest.fixture
async def away(clock):
    async with Away(clock) as broker:
        yield broker


@pytest.mark.parametrize(
    "error",
    [BrokerUnavailable("alarm"), Throttled("full"), FunctionNotFound("app.work")],
    ids=repr,
)
@pytest.mark.parametrize("attempts", [1, 3], ids=["dead letter", "retry"])
async def test_what_has_run_does_not_run_again_while_its_settlement_is_refused(
    start, clock, away, attempts, error
):
    failing = Failing(Retry(attempts, initial=60, jitter="none"))
    async with start(failing.app, broker=away) as host:
        read = host.metrics.registry.get_sample_value
        away.error = error
        for _ in range(5):
            await host.caller.send("app.work")
        await clock.advance(1000)
        assert failing.runs == 5
        assert read(WAITING, LABELS) == 5
        assert await away.depth(INBOX) == 0
        away.error = None
        await clock.advance(LONGEST_BROKER_PAUSE)
        assert read(WAITING, LABELS) == 0
        await clock.advance(1000)
    assert failing.runs == 5 * attempts
    for _ in range(5):
        dead = (await away.get(DEAD)).message
        assert dead.attempt == attempts
        assert dead.headers[ERROR_TYPE] == "KeyError"
        assert dead.headers[REASON].startswith(f"all {attempts} attempts failed")


async def test_the_store_is_repeated_after_growing_pauses_and_one_warning_says_so(
    start, clock, away, caplog
):
    caplog.set_level(logging.INFO)
    failing = Failing(RETRY)
    async with start(failing.app, broker=away) as host:
        away.error = BrokerUnavailable("a memory alarm")
        await host.caller.send("app.work")
        await host.caller.send("app.work")
        await clock.advance(300)
        away.error = None
        await clock.advance(LONGEST_BROKER_PAUSE)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "the settlement of" in warnings[0].getMessage()
    assert "a memory alarm" in warnings[0].getMessage()
    assert "app.work: no settlement waits any more" in caplog.text
    assert len(away.tries) < 2 * (300 / (LONGEST_BROKER_PAUSE / 2) + 5)


def test_the_pauses_double_up_to_the_longest_less_a_random_half():
    pauses, most = repeat_pauses(), BROKER_PAUSE
    for _ in range(10):
        assert most / 2 <= next(pauses) <= most
        most = min(2 * most, LONGEST_BROKER_PAUSE)
    assert most == LONGEST_BROKER_PAUSE


async def test_only_a_stop_hands_it_back(start, clock, away):
    failing = Failing(RETRY)
    away.error = BrokerUnavailable("alarm")
    async with start(failing.app, broker=away, grace=0) as host:
        await host.caller.send("app.work")
        await clock.advance(100)
        assert away.statistics()[INBOX.name].unacked == 1
    delivery = await away.get(INBOX)
    assert (delivery.message.attempt, delivery.losses) == (1, 0)
    assert failing.runs == 1


async def test_the_successes_of_a_batch_do_not_wait_for_its_failures(start, clock, away):
    app, queue = Service("app"), named("numbers")

    @app.function(on.queue("numbers", batch=3), name="work", retry=RETRY)
    async def work(numbers: list[int]) -> None:
        raise PartialFailure({0: KeyError("colour")})

    async with start(app, broker=away, grace=0):
        away.error = BrokerUnavailable("alarm")
        for number in range(3):
            message = Message(str(number).encode(), str(number), clock.now())
            await away.publish(to_queue(queue), message)
        await clock.advance(100)
        assert away.statistics()[queue.name].unacked == 1


class Lost:
    """A delivery whose connection may be lost."""

    def __init__(self, message, *, stale):
        self.message = message
        self.stale = stale
        self.redeliveries = self.losses = 0
        self.settled = []

    def ack(self):
        self.settled.append("ack")

    def requeue(self):
        self.settled.append("requeue")


@pytest.fixture
def writer(clock, away):
    spec = Service("app").function(name="work", retry=RETRY)(lambda: None).spec
    context = SimpleNamespace(
        broker=away, clock=clock, gauge=lambda *_: None, results={}, note_delayed=lambda *_: None
    )
    return SettlementWriter(spec, context)


@pytest.mark.parametrize("lost", ["before", "while it waits"])
async def test_nothing_is_stored_for_what_the_broker_delivers_again(
    writer, clock, away, message, lost
):
    delivery = Lost(message(), stale=lost == "before")
    away.error = BrokerUnavailable("alarm")
    failure = Result(b"", error=FunctionError("KeyError", "colour"))
    async with asyncio.TaskGroup() as tasks:
        settling = tasks.create_task(writer.settle(delivery, failure))
        await clock.settle()
        assert settling.done() == delivery.stale
        delivery.stale = True
        away.error = None
        await clock.advance(LONGEST_BROKER_PAUSE)
    assert len(away.tries) == (lost != "before")
