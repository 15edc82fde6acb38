"""What becomes of asynchronous deliveries: each gets one answer, and nothing is lost on the way."""

import asyncio
from itertools import pairwise

import pytest

from eventmesh.aio.clock import sleep
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.context import Context
from eventmesh.engine.settlement import (
    BROKER_PAUSE,
    ERROR_MESSAGE,
    ERROR_TYPE,
    FIRST_FAILURE,
    LAST_FAILURE,
    MAX_CRASHES,
    MAX_HAND_BACKS,
    REASON,
    TRACEBACK,
)
from eventmesh.model.errors import BrokerUnavailable, Reject, RetryLater, Throttled
from eventmesh.model.result import Result
from eventmesh.model.retry import Retry
from eventmesh.model.topology import dead_letters, inbox, to_queue
from eventmesh.service import Service

RETRY = Retry(3, initial=10, factor=2, jitter="none", max_age=1000)
INBOX = inbox("app.work")
DEAD = dead_letters("app.work")


class Work:
    """A function `app.work` that does what its script says, attempt by attempt."""

    def __init__(self, clock, **options):
        self.clock = clock
        self.runs = []
        self.script = []
        self.service = Service("app")
        self.service.function(name="work", **({"retry": RETRY} | options))(self.handle)

    async def handle(self, ctx: Context, number: int = 0) -> int:
        """Raise what the script says next, or return what it says."""
        self.runs.append((self.clock.now(), ctx.attempt))
        outcome = self.script.pop(0) if self.script else number
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def attempts(self):
        return [attempt for _, attempt in self.runs]

    @property
    def waits(self):
        times = [time for time, _ in self.runs]
        return [round(after - before, 3) for before, after in pairwise(times)]


@pytest.fixture
def work(clock):
    return Work(clock)


@pytest.fixture
def take(broker):
    """Takes everything out of a queue."""

    async def take(queue):
        messages = []
        while (delivery := await broker.get(queue)) is not None:
            delivery.ack()
            messages.append(delivery.message)
        return messages

    return take


@pytest.fixture
def stored(broker, message):
    """Puts a message into the inbox of a function that does not run yet."""

    async def stored(**properties):
        await broker.declare([INBOX])
        await broker.publish(to_queue(INBOX), message(**properties))

    return stored


@pytest.fixture
def send(start, clock):
    """Sends to the function and lets a time pass."""

    async def send(work, *, advance=0.0):
        async with start(work.service) as host:
            await host.caller.send("app.work")
            await clock.advance(advance)

    return send


async def test_what_succeeds_is_gone(work, send, take):
    await send(work)
    assert work.attempts == [1]
    assert await take(INBOX) == await take(DEAD) == []


async def test_a_failure_is_tried_again_after_the_policys_waits_and_then_dead_lettered(
    work, send, take, clock
):
    start = clock.now()
    work.script = [ValueError("first"), KeyError("second"), ValueError("last")]
    await send(work, advance=1000)
    assert (work.attempts, work.waits) == ([1, 2, 3], [10, 20])
    (dead,) = await take(DEAD)
    assert dead.attempt == 3
    assert dead.headers[REASON] == "all 3 attempts failed"
    assert dead.headers[ERROR_TYPE] == "ValueError"
    assert dead.headers[ERROR_MESSAGE] == "ValueError: last"
    assert "in handle" in dead.headers[TRACEBACK]
    assert float(dead.headers[FIRST_FAILURE]) == start
    assert float(dead.headers[LAST_FAILURE]) == start + 30
    assert await take(INBOX) == []


async def test_an_attempt_that_succeeds_is_the_last(work, send, take):
    work.script = [ValueError("first")]
    await send(work, advance=1000)
    assert work.attempts == [1, 2]
    assert await take(DEAD) == []


async def test_the_id_stays_the_same_over_all_attempts(start, clock, take):
    app, ids = Service("app"), []

    @app.function(retry=RETRY)
    async def work(ctx: Context):
        ids.append(ctx.id)
        raise ValueError

    async with start(app) as host:
        sent = await host.caller.send("app.work")
        await clock.advance(100)
    assert ids == [sent] * 3
    assert [dead.id for dead in await take(DEAD)] == [sent]


async def test_the_handler_may_say_when_to_come_again(work, send, take):
    work.script = [RetryLater(after=1.5), RetryLater(), RetryLater(after=0, reason="not yet")]
    await send(work, advance=1000)
    assert work.waits == [1.5, 20]
    (dead,) = await take(DEAD)
    assert dead.headers[ERROR_MESSAGE] == "not yet"


async def test_a_rejection_is_dead_lettered_at_once(work, send, take):
    work.script = [Reject("it is fake")]
    await send(work, advance=1000)
    (dead,) = await take(DEAD)
    assert (dead.attempt, dead.headers[REASON]) == (1, "it is fake")


async def test_a_queue_of_dead_letters_that_is_gone_is_made_again(work, send, take, monkeypatch):
    declare, declared = MemoryBroker.declare, []

    async def forgetful(broker, queues, bindings=()):
        """As if somebody had deleted the queue after it was first declared."""
        declared.extend(queues)
        kept = [queue for queue in queues if queue != DEAD or declared.count(DEAD) > 1]
        await declare(broker, kept, bindings)

    monkeypatch.setattr(MemoryBroker, "declare", forgetful)
    work.script = [Reject("it is fake")]
    await send(work)
    assert work.attempts == [1]
    (dead,) = await take(DEAD)
    assert dead.headers[REASON] == "it is fake"


async def test_a_rejection_for_an_exceptions_sake_takes_nobody_down(work, send, take):
    work.script = [Reject(KeyError("colour"))]
    await send(work)
    (dead,) = await take(DEAD)
    assert dead.headers[REASON] == "'colour'"


async def test_a_payload_that_does_not_fit_is_dead_lettered_at_once(work, start, clock, take):
    async with start(work.service) as host:
        await host.caller.send("app.work", {"number": "many"})
        await host.caller.send("app.work", b"no json")
        await clock.advance(1000)
    assert work.runs == []
    bad_field, no_json = await take(DEAD)
    assert bad_field.headers[ERROR_TYPE] == "payload_invalid"
    assert "number: Input should be a valid integer" in bad_field.headers[REASON]
    assert "many" not in bad_field.headers[REASON]
    assert "Invalid JSON" in no_json.headers[REASON]


async def test_a_payload_over_the_limit_is_dead_lettered_at_once(clock, start, take):
    work = Work(clock, max_payload=10)
    async with start(work.service) as host:
        await host.caller.send("app.work", b"x" * 11)
        await clock.settle()
    assert work.runs == []
    (dead,) = await take(DEAD)
    assert dead.headers[ERROR_TYPE] == "payload_too_large"


async def test_what_is_too_old_is_not_run(work, start, stored, clock, take):
    await stored(timestamp=clock.now() - 1001)
    async with start(work.service):
        await clock.settle()
    assert work.runs == []
    (dead,) = await take(DEAD)
    assert dead.headers[REASON] == "older than 1000 s before it was run"
    assert ERROR_TYPE not in dead.headers


async def test_a_delay_that_was_asked_for_makes_nothing_too_old(work, start, clock, take):
    async with start(work.service) as host:
        await host.caller.send("app.work", delay=5000)
        await clock.advance(5000)
    assert work.attempts == [1]
    assert await take(DEAD) == []


async def test_nothing_is_tried_again_that_would_be_too_old_by_then(clock, send, take):
    work = Work(clock, retry=Retry(10, initial=40, jitter="none", max_age=100), timeout=60)
    work.script = [ValueError("a"), ValueError("b"), ValueError("c")]
    await send(work, advance=1000)
    assert work.attempts == [1, 2]  # At 0 and 40 s; the next would be at 120 s.
    (dead,) = await take(DEAD)
    assert dead.headers[REASON] == "older than 100 s before it succeeded"


async def test_a_message_that_kills_its_process_is_dead_lettered(
    work, start, stored, broker, clock, take
):
    await stored()
    for _ in range(MAX_HAND_BACKS + MAX_CRASHES):
        async with broker.consume(INBOX, lambda _: None, prefetch=1):
            pass  # Taken, and never answered.
    async with start(work.service):
        await clock.settle()
    assert work.attempts == [1]  # It gets another chance as often as that.

    await stored()
    for _ in range(MAX_HAND_BACKS + MAX_CRASHES + 1):
        async with broker.consume(INBOX, lambda _: None, prefetch=1):
            pass
    async with start(work.service):
        await clock.settle()
    assert work.attempts == [1]
    (dead,) = await take(DEAD)
    assert dead.headers[REASON] == (
        "delivered 32 times and never acknowledged: it kills its process"
    )


@pytest.mark.parametrize(
    ("error", "wait"), [(Throttled("full", 2.5), 2.5), (BrokerUnavailable("away"), BROKER_PAUSE)]
)
async def test_what_was_kept_from_running_spends_no_attempt(clock, send, error, wait):
    work, refusals = Work(clock), [error] * 5

    def refusing(handler):
        async def run(invocation):
            return Result(b"", error=refusals.pop()) if refusals else await handler(invocation)

        return run

    work.service.middleware = (refusing,)
    began = clock.now()
    await send(work, advance=100)
    assert work.runs == [(began + 5 * wait, 1)]


async def test_a_run_that_a_stop_cancels_is_requeued_and_spends_no_attempt(start, broker, clock):
    app, begun = Service("app"), []

    @app.function
    async def work(ctx: Context):
        begun.append(ctx.attempt)
        await sleep(clock, 60)

    for _ in range(3):
        async with start(app, grace=0) as host:
            if not begun:
                await host.caller.send("app.work")
            await clock.settle()
    assert begun == [1, 1, 1]
    delivery = await broker.get(INBOX)
    assert (delivery.message.attempt, delivery.losses) == (1, 0)


class Slow(MemoryBroker):
    """A broker that takes a while to confirm whatever goes to a dead-letter queue."""

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if route.key == DEAD.name:
            await asyncio.Event().wait()
        await super().publish(route, message, delay=delay, give_up=give_up)


async def test_a_stop_while_it_is_being_stored_hands_it_back_too(work, start, clock):
    work.script = [Reject("fake")]
    async with Slow(clock) as broker:
        async with start(work.service, broker=broker, grace=0) as host:
            await host.caller.send("app.work")
            await clock.settle()
        delivery = await broker.get(INBOX)
    assert (delivery.message.attempt, delivery.losses) == (1, 0)
