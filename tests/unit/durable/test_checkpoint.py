"""What the code of a function has recorded, and what is refused."""

from dataclasses import replace

import pytest

from eventmesh.durable import checkpoint
from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.errors import InvalidUpdate
from eventmesh.durable.operation import (
    ErrorObject,
    OperationAction,
    OperationType,
    OperationUpdate,
)
from tests.unit.durable.executions import CALL, CALLBACK, STEP, STEP_DONE, WAIT, Run, suspended

ERROR = ErrorObject("busy", "Busy")
CONTEXT = OperationUpdate("x", "CONTEXT", "START", name="branch", subtype="RunInChildContext")


def begun() -> Run:
    run = Run()
    run.begin()
    return run


def test_a_step_succeeds() -> None:
    run = begun()
    assert run.checkpoint(STEP, STEP_DONE)
    started, succeeded = run.changes.events
    assert (started.id, started.type, started.operation) == (2, "StepStarted", "s")
    assert (started.name, started.subtype) == ("charge", "Step")
    assert succeeded.details == {
        "Result": {"Payload": '"paid"', "Truncated": False},
        "RetryDetails": {"CurrentAttempt": 1},
    }
    step = run.changes.operations["s"]
    assert (step.status, step.result, step.attempt) == ("SUCCEEDED", '"paid"', 1)


def test_a_step_is_retried_and_its_attempts_are_counted() -> None:
    retry = OperationUpdate("s", "STEP", "RETRY", error=ERROR, next_attempt_delay=3)
    run = suspended(STEP, retry)
    step = run.execution.operations["s"]
    assert (step.status, step.attempt, step.due) == ("PENDING", 1, 1003)
    run.wait(3)
    run.begin()
    run.checkpoint(STEP, replace(STEP, action="FAIL", error=ERROR))
    assert run.events[-2:] == ["StepStarted", "StepFailed"]
    assert run.changes.events[-1].details["RetryDetails"] == {"CurrentAttempt": 2}
    assert run.execution.operations["s"].error == ERROR


def test_a_condition_that_is_polled_keeps_its_state() -> None:
    retry = OperationUpdate("s", "STEP", "RETRY", payload="1", next_attempt_delay=3)
    run = suspended(STEP, retry)
    assert run.execution.operations["s"].result == "1"
    assert "StepSucceeded" in run.events


def test_a_context_has_operations_of_its_own() -> None:
    run = begun()
    inner = replace(STEP, parent="x")
    done = OperationUpdate("x", "CONTEXT", "SUCCEED", payload="1", replay_children=True)
    run.checkpoint(CONTEXT, inner, replace(STEP_DONE, parent="x"), done)
    assert [event.parent for event in run.changes.events] == ["", "x", "x", ""]
    assert run.execution.operations["x"].replay_children
    other = replace(CONTEXT, id="y")
    run.checkpoint(other, replace(other, action="FAIL", error=ERROR))
    assert run.events[-1] == "ContextFailed"


def test_what_ends_without_a_start_gets_both() -> None:
    run = begun()
    run.checkpoint(STEP_DONE)
    assert run.events[-2:] == ["StepStarted", "StepSucceeded"]


def test_a_start_that_is_sent_again_by_a_new_run_changes_nothing() -> None:
    run = begun()
    run.checkpoint(STEP)
    run.begin(1)
    run.checkpoint(STEP)
    assert run.changes.events == []


def test_a_wait_is_cancelled() -> None:
    run = begun()
    run.checkpoint(WAIT, replace(WAIT, action="CANCEL"))
    assert run.events[-1] == "WaitCancelled"
    assert run.execution.next_due is None


def test_a_callback_has_an_id_that_cannot_be_guessed() -> None:
    run = begun()
    run.checkpoint(replace(CALLBACK, timeout=5, heartbeat_timeout=2), replace(CALLBACK, id="d"))
    first, second = run.changes.operations.values()
    assert first.callback_id != second.callback_id
    assert read_callback_id(first.callback_id).operation == "c"
    assert first.callback_id not in repr(first)
    details = run.changes.events[0].details
    assert details == {"CallbackId": first.callback_id, "Timeout": 5, "HeartbeatTimeout": 2}
    assert run.changes.events[1].details == {"CallbackId": second.callback_id}


def test_the_code_may_end_the_execution_itself() -> None:
    run = begun()
    assert not run.checkpoint(OperationUpdate("z", "EXECUTION", "SUCCEED", payload="big"), STEP)
    assert (run.execution.status, run.execution.result) == ("SUCCEEDED", "big")
    assert run.execution.operations == {}
    run.finish("SUCCEEDED", "")
    assert run.execution.result == "big"


def test_what_is_due_is_told_with_the_answer() -> None:
    run = begun()
    run.checkpoint(WAIT)
    run.now += 60
    run.checkpoint(STEP)
    assert run.events[-2:] == ["WaitSucceeded", "StepStarted"]


def test_more_is_known_of_a_function_that_is_called() -> None:
    run = begun()
    run.do(
        checkpoint.record_checkpoint,
        run.token,
        [replace(CALL, tenant="acme")],
        b"1",
        lambda call: {"ExecutedVersion": "3"} if call.function == "ship" else {},
    )
    assert run.changes.events[0].details == {
        "FunctionName": "ship",
        "Input": {"Payload": "7", "Truncated": False},
        "ExecutedVersion": "3",
        "TenantId": "acme",
    }


REFUSED: dict[str, tuple[OperationUpdate, str]] = {
    "an unknown parent": (replace(STEP, id="n", parent="no"), "its parent 'no' is not known"),
    "a parent that is a step": (replace(STEP, id="n", parent="s"), "'s' is no context"),
    "another type": (replace(WAIT, id="s"), "it is a STEP: the code has changed"),
    "ended before": (replace(STEP_DONE, id="d"), "it has ended: SUCCEEDED"),
    "not due": (replace(STEP, id="p"), "its next attempt is not due"),
    "a wait of nothing": (replace(WAIT, duration=0), "WaitSeconds is 0"),
    "a wait of two years": (replace(WAIT, duration=70_000_000), "WaitSeconds is 70000000"),
    "a retry at once": (replace(STEP, action="RETRY", next_attempt_delay=0), "NextAttemptDelay"),
    "a timeout below zero": (replace(CALLBACK, timeout=-1), "TimeoutSeconds is -1"),
    "heartbeats below zero": (replace(CALLBACK, heartbeat_timeout=-1), "HeartbeatTimeoutSeconds"),
    "a call of nothing": (replace(CALL, function=""), "it names no function"),
    "a wait to cancel": (replace(WAIT, action="CANCEL"), "it was not started"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_its_reason(case: str) -> None:
    update, reason = REFUSED[case]
    run = begun()
    run.checkpoint(STEP, replace(STEP, id="d"), replace(STEP_DONE, id="d"))
    run.checkpoint(replace(STEP, id="p"), replace(STEP, id="p", action="RETRY"))
    with pytest.raises(InvalidUpdate, match=reason):
        run.checkpoint(update)


@pytest.mark.parametrize(
    ("type", "action"),
    [
        ("EXECUTION", "START"),
        ("CONTEXT", "RETRY"),
        ("WAIT", "SUCCEED"),
        ("CALLBACK", "SUCCEED"),
        ("CHAINED_INVOKE", "FAIL"),
    ],
)
def test_an_action_that_is_not_of_its_type_is_refused(
    type: OperationType, action: OperationAction
) -> None:
    with pytest.raises(InvalidUpdate, match=f"a {type} cannot {action}"):
        begun().checkpoint(OperationUpdate("n", type, action))


def test_an_execution_that_grows_too_large_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_OPERATIONS", 3)
    run = begun()
    updates = [replace(STEP, id=f"s{number}") for number in range(4)]
    assert run.checkpoint(*updates[:3])
    assert not run.checkpoint(updates[3])
    assert run.execution.error is not None
    assert run.execution.error.type == "Execution.QuotaExceeded"


def test_its_payloads_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 100)
    run = begun()
    assert run.checkpoint(replace(STEP_DONE, payload="x" * 90))
    failure = replace(STEP, id="t", action="FAIL", error=ErrorObject("no", "Type", "d", ("f",)))
    assert not run.checkpoint(replace(failure, error=ErrorObject("message " * 2)))
    assert run.execution.status == "FAILED"
