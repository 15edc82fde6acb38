"""Who is told of outcomes: a function, a queue or subscribers, once, and without running again."""

import orjson
import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.context import Context
from eventmesh.engine.settlement import BROKER_PAUSE
from eventmesh.model.errors import (
    BrokerUnavailable,
    PayloadInvalid,
    PayloadTooLarge,
    Reject,
    Throttled,
)
from eventmesh.model.event import Event
from eventmesh.model.retry import Retry
from eventmesh.model.topology import dead_letters, inbox, named
from eventmesh.service import Service
from eventmesh.triggers import on

TWICE = Retry(2, initial=1, jitter="none")
OUTCOMES = named("outcomes")


@pytest.fixture
def app():
    return Service("app")


@pytest.fixture
def told(broker):
    """The records in the queue "outcomes"."""

    async def told(broker=broker):
        records = []
        while (delivery := await broker.get(OUTCOMES)) is not None:
            delivery.ack()
            records.append(orjson.loads(delivery.message.body))
        return records

    return told


async def test_a_queue_is_told_of_a_success(app, start, broker, clock, told):
    @app.function(on_success="queue:outcomes", on_failure="queue:failures")
    async def double(number: int) -> int:
        return number * 2

    await broker.declare([OUTCOMES, named("failures")])
    async with start(app) as host:
        sent = await host.caller.send("app.double", {"number": 21})
        await clock.settle()
    assert (
        await told()
        == [
            {
                "function": "app.double",
                "id": sent,
                "outcome": "success",
                "attempts": 1,
                "trigger": "invoke",
                "time": "2026-01-01T00:00:00+00:00",
                "request": {"number": 21},
                "result": 42,
            }
        ]
        or clock.now() != 1_767_225_600.0
    )
    assert await broker.depth(named("failures")) == 0


async def test_a_queue_is_told_of_a_failure_when_it_is_final(app, start, broker, clock, told):
    @app.function(on_failure="queue:outcomes", retry=TWICE)
    async def fail(number: int) -> None:
        raise ValueError("secret traceback")

    await broker.declare([OUTCOMES])
    async with start(app) as host:
        await host.caller.send("app.fail", {"number": 1})
        await clock.settle()
        assert await told() == []
        await clock.advance(1)
    (record,) = await told()
    assert (record["outcome"], record["attempts"]) == ("failure", 2)
    assert record["reason"] == "all 2 attempts failed"
    assert record["error"] == {
        "code": "function_error",
        "type": "ValueError",
        "message": "secret traceback",
    }
    assert await broker.depth(dead_letters("app.fail")) == 1


async def test_a_function_is_told_in_its_inbox(app, start, clock):
    seen = []

    @app.function
    async def note(outcome: str, result: int, ctx: Context) -> None:
        seen.append((outcome, result, ctx.trigger, ctx.caller, ctx.headers["traceparent"]))

    @app.function(on_success=note)
    async def double(number: int) -> int:
        return number * 2

    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    async with start(app) as host:
        await host.caller.send("app.double", {"number": 21}, headers=trace)
        await clock.settle()
    assert seen == [("success", 42, "destination", "app.double", trace["traceparent"])]


async def test_subscribers_are_told_by_an_event(app, start, clock):
    seen = []

    @app.function(on.event("order.*"))
    async def note(event: Event) -> None:
        seen.append((event.type, event.source, event.data["result"]))

    @app.function(on_success="event:order.doubled")
    async def double(number: int) -> int:
        return number * 2

    async with start(app) as host:
        await host.caller.send(double, {"number": 21})
        await clock.settle()
    assert seen == [("order.doubled", "/app.double", 42)]


async def test_synchronous_invocations_tell_nobody(app, start, broker, clock, told):
    @app.function(on_success="queue:outcomes")
    async def double(number: int) -> int:
        return number * 2

    await broker.declare([OUTCOMES])
    async with start(app) as host:
        assert await host.caller.invoke(double, {"number": 1}) == 2
        await clock.settle()
    assert await told() == []


@pytest.mark.parametrize("outcome", [None, Reject("fake")], ids=["success", "failure"])
async def test_a_destination_that_is_not_there_is_logged_and_counted(
    app, start, broker, clock, caplog, outcome
):
    runs = []

    @app.function(on_success="gone.away", on_failure="gone.away")
    async def work() -> None:
        runs.append(1)
        if outcome:
            raise outcome

    async with start(app) as host:
        await host.caller.send(work)
        await clock.advance(100)
        registry = host.metrics.registry
        labels = {"function": "app.work"}
        assert registry.get_sample_value("eventmesh_undelivered_total", labels) == 1
    assert runs == [1]
    assert "there is no 'gone.away' in the mesh" in caplog.text
    assert await broker.depth(dead_letters("app.work")) == (1 if outcome else 0)
    assert await broker.depth(inbox("app.work")) == 0


class Moody(MemoryBroker):
    """A broker that refuses what goes to the outcomes for a while."""

    def __init__(self, clock, *refusals):
        super().__init__(clock)
        self.refusals = list(refusals)

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if route.key == OUTCOMES.name and self.refusals:
            raise self.refusals.pop(0)
        await super().publish(route, message, delay=delay, give_up=give_up)


@pytest.mark.parametrize("outcome", [None, Reject("fake")], ids=["success", "failure"])
@pytest.mark.parametrize("refusal", [Throttled("full"), BrokerUnavailable("away")], ids=repr)
async def test_a_destination_that_takes_nothing_now_is_told_later_and_nothing_runs_again(
    app, start, clock, told, refusal, outcome
):
    runs = []

    @app.function(on_success="queue:outcomes", on_failure="queue:outcomes")
    async def work() -> None:
        runs.append(1)
        if outcome:
            raise outcome

    async with Moody(clock, refusal, refusal) as broker:
        await broker.declare([OUTCOMES])
        async with start(app, broker=broker) as host:
            await host.caller.send(work)
            await clock.advance(BROKER_PAUSE)
            assert await told(broker) == []
            await clock.advance(BROKER_PAUSE * 2)
            assert len(await told(broker)) == 1
        assert await broker.depth(inbox("app.work")) == 0
        assert await broker.depth(dead_letters("app.work")) == (1 if outcome else 0)
    assert runs == [1]


@pytest.mark.parametrize(
    "refusal",
    [
        PayloadTooLarge(20_000_000, 16_000_000),
        PayloadInvalid("a name has 256 bytes"),
        KeyError("x"),
    ],
    ids=repr,
)
async def test_a_record_that_cannot_be_stored_is_logged_and_nothing_runs_again(
    app, start, clock, caplog, refusal
):
    runs = []

    @app.function(on_success="queue:outcomes")
    async def work() -> None:
        runs.append(1)

    async with Moody(clock, refusal) as broker:
        await broker.declare([OUTCOMES])
        async with start(app, broker=broker) as host:
            await host.caller.send(work)
            await clock.advance(100)
    assert runs == [1]
    assert f"was not delivered: {refusal}" in caplog.text


async def test_a_stop_while_a_destination_takes_nothing_hands_the_invocation_back(
    app, start, clock
):
    @app.function(on_success="queue:outcomes")
    async def work() -> None: ...

    async with Moody(clock, *[Throttled("full")] * 5) as broker:
        await broker.declare([OUTCOMES])
        async with start(app, broker=broker, grace=0) as host:
            await host.caller.send(work)
            await clock.settle()
        delivery = await broker.get(inbox("app.work"))
    assert (delivery.losses, delivery.message.attempt) == (0, 1)


async def test_a_function_may_tell_a_chain_of_others(app, start, clock):
    seen = []

    @app.function
    async def third(result: int) -> None:
        seen.append(result)

    @app.function(on_success=third)
    async def second(result: int) -> int:
        return result + 1

    @app.function(on_success=second)
    async def first() -> int:
        return 1

    async with start(app) as host:
        await host.caller.send(first)
        await clock.settle()
    assert seen == [2]
