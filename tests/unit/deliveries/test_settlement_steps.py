"""Which steps settle a delivery, and which ones take the place of those that fail."""

from dataclasses import replace

import pytest

from eventmesh.deliveries.settlement_steps import (
    DropRecord,
    RunOutcome,
    SendRecord,
    StoreDeadLetter,
    StoreRetry,
    WaitToRepeat,
    is_temporary,
    plan_steps,
    replace_step,
)
from eventmesh.engine.settlement import ACK, FIRST_FAILURE, REASON, MoveToDeadLetters, ScheduleRetry
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeclarationError,
    FunctionError,
    FunctionNotFound,
    PayloadInvalid,
    PayloadTooLarge,
    Throttled,
)
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import parse_destination
from eventmesh.service import Service

NOW = 1_000.0
TEMPORARY = [
    AccessDenied("no right, until the definitions are loaded"),
    BrokerUnavailable("away"),
    Throttled("full"),
    FunctionNotFound("app.work"),
]
PERMANENT = [
    PayloadTooLarge(2, 1),
    PayloadInvalid("a header has 256 bytes"),
    DeclarationError("320 days"),
    ValueError("whatever it is"),
]


@pytest.fixture
def outcome():
    """What a run failed with, of a function with the destinations that are given."""

    def outcome(**options):
        function = Service("app").function(name="work", **options)(lambda: None)
        error = FunctionError("KeyError", "colour")
        return RunOutcome(
            function=function.spec,
            message=Message(b"{}", "id-1", NOW - 5, principal="user:ada"),
            result=Result(b"", error=error),
            now=NOW,
            age_from_first_run=False,
            record_id="record-1",
        )

    return outcome


def kinds(steps):
    return [type(step) for step in steps]


def test_a_success_needs_no_step(outcome):
    assert plan_steps(outcome(), ACK) == []


def test_a_success_is_told_to_its_destination(outcome):
    (step,) = plan_steps(outcome(on_success="queue:done", on_failure="queue:failed"), ACK)
    assert step.route == parse_destination("queue:done")
    assert (step.message.id, step.message.principal) == ("record-1", "user:ada")


@pytest.mark.parametrize(("from_first_run", "timestamp"), [(False, NOW - 5), (True, NOW)])
def test_a_retry_is_stored(outcome, from_first_run, timestamp):
    run = replace(outcome(on_failure="queue:failed"), age_from_first_run=from_first_run)
    (step,) = plan_steps(run, ScheduleRetry(2.5, spent=True))
    assert (step.delay, step.spent) == (2.5, True)
    assert (step.message.attempt, step.message.timestamp) == (2, timestamp)
    assert step.message.headers == {FIRST_FAILURE: f"{NOW:.3f}"}


def test_a_dead_letter_is_stored_before_its_destination_is_told(outcome):
    steps = plan_steps(outcome(on_failure="queue:failed"), MoveToDeadLetters("it is fake"))
    assert kinds(steps) == [StoreDeadLetter, SendRecord]
    assert steps[0].message.headers[REASON] == "it is fake"
    assert steps[1].route == parse_destination("queue:failed")


@pytest.mark.parametrize("error", TEMPORARY, ids=repr)
def test_while_the_broker_refuses_a_settlement_it_is_repeated(outcome, error):
    run = outcome()
    assert is_temporary(error)
    for settlement in (ScheduleRetry(1.0), MoveToDeadLetters("it is fake")):
        for step in plan_steps(run, settlement):
            assert replace_step(step, error, run) == [WaitToRepeat(error), step]


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_a_retry_that_no_broker_takes_becomes_a_dead_letter(outcome, error):
    run = outcome(on_failure="queue:failed")
    assert not is_temporary(error)
    (retry,) = plan_steps(run, ScheduleRetry(1.0))
    assert kinds([retry]) == [StoreRetry]
    steps = replace_step(retry, error, run)
    assert kinds(steps) == [StoreDeadLetter, SendRecord]
    reason = f"it cannot be stored for another attempt: {error}"
    assert steps[0].message.headers[REASON] == reason


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_a_dead_letter_that_no_broker_takes_is_stored_in_part_and_once(outcome, error):
    run = outcome()
    (whole,) = plan_steps(run, MoveToDeadLetters("it is fake"))
    (part,) = replace_step(whole, error, run)
    assert part.refused is error
    assert part.message.headers[REASON].startswith("it is fake; only a part of it could be stored")
    assert replace_step(part, error, run) == [WaitToRepeat(error), part]


@pytest.mark.parametrize("error", TEMPORARY[:3], ids=repr)
def test_a_record_waits_for_a_broker_that_refuses_it_now(outcome, error):
    run = outcome(on_success="queue:done")
    (record,) = plan_steps(run, ACK)
    assert replace_step(record, error, run) == [WaitToRepeat(error), record]


@pytest.mark.parametrize("error", [*PERMANENT, TEMPORARY[3]], ids=repr)
def test_a_record_that_leads_nowhere_is_given_up(outcome, error):
    run = outcome(on_success="queue:done")
    (record,) = plan_steps(run, ACK)
    assert replace_step(record, error, run) == [DropRecord(error)]
