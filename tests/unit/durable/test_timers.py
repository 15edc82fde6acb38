"""What time does to an execution."""

from dataclasses import replace

from eventmesh.durable.changes import Resume
from eventmesh.durable.operation import ErrorObject, OperationUpdate
from eventmesh.durable.outcomes import keep_callback
from eventmesh.durable.timers import end_turn
from tests.unit.durable.executions import CALLBACK, STEP, WAIT, Run, suspended

RETRY = OperationUpdate("s", "STEP", "RETRY", error=ErrorObject("busy"), next_attempt_delay=5)


def test_a_wait_ends_when_it_is_due_and_not_before() -> None:
    run = suspended(WAIT)
    assert run.execution.next_due == 1060
    run.wait(59.9)
    assert run.changes.events == []
    run.wait(0.1)
    assert run.events[-1] == "WaitSucceeded"
    assert run.changes.events[0].details == {"Duration": 60}
    assert run.execution.operations["w"].status == "SUCCEEDED"
    assert run.commands == [Resume(2)]


def test_several_that_are_due_end_in_their_order_and_ask_for_one_turn() -> None:
    later = OperationUpdate("w2", "WAIT", "START", duration=10)
    run = suspended(WAIT, later)
    run.wait(100)
    assert [event.operation for event in run.changes.events] == ["w2", "w"]
    assert run.commands == [Resume(2)]


def test_a_step_becomes_ready_for_its_next_attempt() -> None:
    run = suspended(STEP, RETRY)
    run.wait(5)
    assert run.execution.operations["s"].status == "READY"
    assert run.changes.events == []
    assert run.commands == [Resume(2)]
    assert run.execution.next_due is None


def test_a_callback_times_out() -> None:
    run = suspended(replace(CALLBACK, timeout=30))
    run.wait(30)
    (event,) = run.changes.events
    assert event.type == "CallbackTimedOut"
    assert event.details["Error"]["Payload"]["ErrorType"] == "Callback.Timeout"
    assert run.execution.operations["c"].status == "TIMED_OUT"


def test_a_callback_needs_its_heartbeat() -> None:
    run = suspended(replace(CALLBACK, timeout=30, heartbeat_timeout=10))
    run.wait(9)
    run.complete(keep_callback, "c")
    assert run.commands == []
    run.wait(9)
    assert run.changes.events == []
    run.wait(1)
    (event,) = run.changes.events
    assert event.details["Error"]["Payload"]["ErrorType"] == "Callback.Heartbeat"


def test_an_execution_times_out_and_what_was_due_before_ends_before() -> None:
    run = suspended(WAIT, CALLBACK, timeout=90)
    run.wait(100)
    assert run.events[-2:] == ["WaitSucceeded", "ExecutionTimedOut"]
    assert run.commands == []
    assert run.execution.status == "TIMED_OUT"
    run.wait(100)
    assert run.changes.events == []


def test_what_would_be_due_after_the_timeout_stays_open() -> None:
    run = suspended(WAIT, timeout=10)
    run.wait(100)
    assert run.execution.operations["w"].status == "STARTED"
    assert run.events[-1] == "ExecutionTimedOut"


def test_what_fell_due_while_the_code_waited_comes_behind_the_end_of_its_invocation() -> None:
    run = Run()
    run.begin()
    run.checkpoint(WAIT)
    run.now += 61
    run.do(end_turn, run.token, None)
    assert run.events[-2:] == ["InvocationCompleted", "WaitSucceeded"]
    assert run.commands == [Resume(2)]


def test_what_returns_after_its_execution_is_out_of_time_has_timed_out() -> None:
    run = Run(timeout=10)
    run.begin()
    run.now += 11
    run.do(end_turn, run.token, "SUCCEEDED", "7")
    assert run.execution.status == "TIMED_OUT"
