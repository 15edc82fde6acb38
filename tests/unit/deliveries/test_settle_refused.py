"""What the broker never takes: the message ends as a dead letter, and the service goes on."""

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.deliveries import settlement_writer
from eventmesh.deliveries.settlement_steps import plan_steps
from eventmesh.engine.settlement import BROKER_PAUSE, ERROR_MESSAGE, ERROR_TYPE, REASON
from eventmesh.model.errors import DeclarationError, PayloadInvalid, PayloadTooLarge, Reject
from eventmesh.model.retry import Retry
from eventmesh.model.topology import dead_letters, inbox
from eventmesh.service import Service

INBOX = inbox("app.work")
DEAD = dead_letters("app.work")

REFUSALS = [
    PayloadInvalid("a header has 256 bytes"),
    PayloadTooLarge(20_000_000, 16_000_000),
    DeclarationError("a delay of 320 days is over the longest"),
    ValueError("whatever it is"),
]


class Picky(MemoryBroker):
    """A broker that refuses what is to come later, and as many dead letters as it is told."""

    def __init__(self, clock, later=None, dead=()):
        super().__init__(clock)
        self.later = later
        self.dead = list(dead)

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if delay and self.later:
            raise self.later
        if route.key == DEAD.name and self.dead:
            raise self.dead.pop(0)
        await super().publish(route, message, delay=delay, give_up=give_up)


@pytest.fixture
def work(start, clock):
    """Send to a function that raises, let a time pass, and say how often it ran and what is left.

    The service is still there in the end: another function of it runs.
    """

    async def work(broker, error, body=b"{}", advance=100.0):
        app, runs = Service("app"), []

        @app.function(retry=Retry(3, initial=10, jitter="none"))
        async def work() -> None:
            runs.append("work")
            raise error

        @app.function
        async def other() -> None:
            runs.append("other")

        async with broker, start(app, broker=broker) as host:
            await host.caller.send("app.work", body)
            await clock.advance(advance)
            await host.caller.send("app.other")
            await clock.settle()
            assert runs.pop() == "other"
            assert await broker.depth(INBOX) == 0
            delivery = await broker.get(DEAD)
            delivery.ack()
            assert await broker.depth(DEAD) == 0
        return len(runs), delivery.message

    return work


@pytest.mark.parametrize("refusal", REFUSALS, ids=repr)
async def test_a_retry_that_can_never_be_stored_is_dead_lettered(work, clock, refusal):
    runs, dead = await work(Picky(clock, later=refusal), KeyError("colour"))
    assert runs == 1
    assert dead.headers[REASON] == f"it cannot be stored for another attempt: {refusal}"
    assert dead.headers[ERROR_TYPE] == "KeyError"


@pytest.mark.parametrize("refusal", REFUSALS, ids=repr)
async def test_a_dead_letter_that_can_never_be_stored_is_stored_in_part(
    work, clock, refusal, caplog
):
    runs, dead = await work(Picky(clock, dead=[refusal]), Reject("fake"))
    assert runs == 1
    assert dead.headers[REASON] == f"fake; only a part of it could be stored: {refusal}"
    assert ERROR_MESSAGE not in dead.headers
    assert dead.body == (b"" if isinstance(refusal, PayloadTooLarge) else b"{}")
    assert f"of the dead letter {dead.id} only a part is kept" in caplog.text


async def test_a_part_that_cannot_be_stored_is_repeated_and_nothing_runs_again(work, clock, caplog):
    broker = Picky(clock, dead=[ValueError("first"), ValueError("second"), ValueError("third")])
    runs, dead = await work(broker, Reject("fake"), advance=BROKER_PAUSE * 4)
    assert runs == 1
    assert dead.headers[REASON] == "fake; only a part of it could be stored: first"
    assert "ValueError: second" in caplog.text
    assert "ValueError: third" not in caplog.text


async def test_a_settlement_that_cannot_be_decided_ends_no_service(
    work, clock, caplog, monkeypatch
):
    plans = [ValueError("no plan")]

    def plan(outcome, settlement):
        if plans:
            raise plans.pop()
        return plan_steps(outcome, settlement)

    monkeypatch.setattr(settlement_writer, "plan_steps", plan)
    runs, dead = await work(MemoryBroker(clock), Reject("fake"), advance=BROKER_PAUSE)
    assert runs == 2
    assert dead.headers[REASON] == "fake"
    assert "ValueError: no plan" in caplog.text
