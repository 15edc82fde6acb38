"""How others end what an execution waits for."""

import pytest

from eventmesh.durable.changes import Call, Resume
from eventmesh.durable.errors import CallbackNotOpen
from eventmesh.durable.operation import ErrorObject, OperationStatus
from eventmesh.durable.outcomes import end_call, fail_callback, keep_callback, succeed_callback
from eventmesh.durable.transition import Transition
from tests.unit.durable.executions import CALL, CALLBACK, STEP, WAIT, Run, suspended

ERROR = ErrorObject("not approved", "Rejected")


def test_a_callback_succeeds_once() -> None:
    run = suspended(CALLBACK)
    run.complete(succeed_callback, "c", '"yes"')
    assert run.events[-1] == "CallbackSucceeded"
    assert run.execution.operations["c"].result == '"yes"'
    assert run.commands == [Resume(2)]
    for again in (succeed_callback, fail_callback):
        with pytest.raises(CallbackNotOpen, match="'approval' has ended: SUCCEEDED"):
            run.complete(again, "c", ERROR)
    with pytest.raises(CallbackNotOpen):
        run.complete(keep_callback, "c")


def test_a_callback_fails_with_the_error_of_its_sender() -> None:
    run = suspended(CALLBACK)
    run.complete(fail_callback, "c", ERROR)
    payload = run.changes.events[0].details["Error"]["Payload"]
    assert payload == {"ErrorMessage": "not approved", "ErrorType": "Rejected"}
    assert run.commands == [Resume(2)]


def test_a_heartbeat_of_a_callback_that_needs_none_changes_nothing() -> None:
    run = suspended(CALLBACK)
    run.complete(keep_callback, "c")
    assert run.execution.next_due is None


@pytest.mark.parametrize("operation", ["unknown", "w"])
def test_what_is_no_callback_cannot_be_completed(operation: str) -> None:
    run = suspended(WAIT)
    with pytest.raises(CallbackNotOpen, match="no callback of that id"):
        run.complete(succeed_callback, operation, None)


def test_a_callback_of_an_execution_that_ended_is_closed() -> None:
    run = suspended(CALLBACK)
    run.do(Transition.stop, None)
    with pytest.raises(CallbackNotOpen):
        run.complete(succeed_callback, "c", None)


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("SUCCEEDED", "ChainedInvokeSucceeded"),
        ("FAILED", "ChainedInvokeFailed"),
        ("TIMED_OUT", "ChainedInvokeTimedOut"),
        ("STOPPED", "ChainedInvokeStopped"),
    ],
)
def test_a_call_ends_as_the_function_did(status: OperationStatus, event: str) -> None:
    run = suspended(CALL)
    result = '"shipped"' if status == "SUCCEEDED" else None
    run.do(end_call, "i", status, result, None if result else ERROR)
    assert run.events[-1] == event
    assert run.execution.operations["i"].status == status
    assert run.commands == [Resume(2)]
    run.do(end_call, "i", "SUCCEEDED", "again")
    assert run.changes.events == []


def test_the_outcome_of_what_was_not_called_changes_nothing() -> None:
    run = Run()
    run.begin()
    run.checkpoint(STEP)
    run.do(end_call, "s", "SUCCEEDED", "1")
    run.do(end_call, "other", "SUCCEEDED", "1")
    assert run.changes.events == []


def test_a_call_is_asked_for_once_with_the_id_of_its_execution() -> None:
    run = Run()
    run.begin()
    run.checkpoint(CALL)
    (command,) = run.commands
    assert isinstance(command, Call)
    assert (command.operation, command.function, command.payload) == ("i", "ship", "7")
    assert len(command.execution) == 32
