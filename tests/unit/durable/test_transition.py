"""The life of an execution's invocations: turns, tokens, pauses and ends."""

import pytest

from eventmesh.durable.changes import Answer, Resume
from eventmesh.durable.errors import ExecutionEnded, StaleToken
from eventmesh.durable.operation import ErrorObject
from eventmesh.durable.outcomes import succeed_callback
from eventmesh.durable.transition import Transition
from tests.unit.durable.executions import CALLBACK, STEP, STEP_DONE, WAIT, Run, suspended

ERROR = ErrorObject("no more", "OutOfStock")


def test_it_starts_with_its_first_turn() -> None:
    run = Run(payload="7", timeout=3600)
    (event,) = run.changes.events
    assert (event.id, event.type) == (1, "ExecutionStarted")
    assert event.details == {
        "Input": {"Payload": "7", "Truncated": False},
        "ExecutionTimeout": 3600,
    }
    assert run.commands == [Resume(1)]


def test_a_result_ends_it_after_its_invocation() -> None:
    run = Run()
    assert run.begin()
    run.finish("SUCCEEDED", "42")
    assert run.events[-2:] == ["InvocationCompleted", "ExecutionSucceeded"]
    assert (run.execution.status, run.execution.result) == ("SUCCEEDED", "42")
    assert run.execution.next_due is None
    assert not run.begin()


def test_a_failure_is_told_to_the_execution_that_called() -> None:
    run = Run(caller="e0", caller_operation="i")
    run.begin()
    run.finish("FAILED", error=ERROR)
    assert run.execution.error == ERROR
    assert run.commands == [Answer("e0", "i", "FAILED", None, ERROR)]


@pytest.mark.parametrize("turn", [0, 2])
def test_a_turn_that_is_not_asked_for_runs_nothing(turn: int) -> None:
    run = Run()
    assert not run.begin(turn)
    assert run.begin()


def test_a_turn_that_ended_is_not_run_again() -> None:
    run = suspended(WAIT)
    assert not run.begin(1)
    assert run.execution.fence == 1


def test_a_turn_whose_process_died_is_begun_anew_and_the_old_token_records_nothing() -> None:
    run = Run()
    run.begin()
    run.checkpoint(STEP)
    dead = run.token
    assert run.begin(1)
    assert run.events[-1] == "InvocationCompleted"
    assert run.changes.events[-1].details["Error"]["Payload"]["ErrorType"] == "Runtime.ExitError"
    with pytest.raises(StaleToken, match="was replaced"):
        run.checkpoint(STEP_DONE, token=dead)
    with pytest.raises(StaleToken, match="was replaced"):
        run.do(Transition.end_invocation, dead, "SUCCEEDED", "1")
    assert run.execution.operations["s"].status == "STARTED"
    assert run.checkpoint(STEP_DONE)


def test_a_token_is_used_once() -> None:
    run = Run()
    run.begin()
    first = run.token
    run.checkpoint(STEP)
    assert run.token != first
    with pytest.raises(StaleToken, match="used before"):
        run.checkpoint(STEP_DONE, token=first)


def test_a_checkpoint_that_is_sent_again_changes_nothing() -> None:
    run = Run()
    run.begin()
    first = run.token
    run.checkpoint(STEP)
    second = run.token
    assert run.checkpoint(STEP, token=first)
    assert run.changes.events == []
    assert run.token == second


@pytest.mark.parametrize("token", ["", "!", "eA==", "MS4=", "MQ=="])
def test_a_token_of_somebody_else_is_refused(token: str) -> None:
    run = Run()
    run.begin()
    with pytest.raises(StaleToken, match="Invalid checkpoint token"):
        run.checkpoint(STEP, token=token)


def test_to_wait_for_nothing_is_a_failure() -> None:
    run = Run()
    run.begin()
    run.checkpoint(STEP, STEP_DONE)
    run.finish()
    assert run.execution.status == "FAILED"
    assert run.execution.error is not None
    assert "no operation is open" in str(run.execution.error.message)


def test_what_came_while_the_code_ran_is_followed_by_a_turn_even_if_it_was_told() -> None:
    run = Run()
    run.begin()
    run.checkpoint(CALLBACK, STEP)
    run.complete(succeed_callback, "c", "1")
    assert run.commands == []
    run.checkpoint(STEP_DONE)
    run.finish()
    assert run.commands == [Resume(2)]


def test_an_invocation_without_an_outcome_is_repeated_later_and_later() -> None:
    run = Run()
    delays: list[float] = []
    for _ in range(8):
        run.begin()
        run.fail(ERROR)
        delays.append(run.commands[0].delay)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    run.begin()
    run.checkpoint(WAIT)
    run.finish()
    assert run.execution.failures == 0


def test_a_stop_ends_it_and_what_runs_records_nothing_more() -> None:
    run = Run()
    run.begin()
    run.do(Transition.stop, ERROR)
    assert run.execution.status == "STOPPED"
    assert run.events[-1] == "ExecutionStopped"
    assert not run.checkpoint(STEP)
    assert run.execution.operations == {}
    with pytest.raises(ExecutionEnded, match="has ended: STOPPED"):
        run.do(Transition.stop, None)
    run.finish("SUCCEEDED", "1")
    assert (run.execution.status, run.execution.result) == ("STOPPED", None)


def test_a_pause_lets_the_invocation_end_and_holds_the_next() -> None:
    run = Run()
    run.begin()
    run.checkpoint(WAIT)
    run.do(Transition.pause, "maintenance")
    assert run.execution.status == "PAUSING"
    run.finish()
    assert run.execution.status == "PAUSED"
    run.wait(60)
    assert run.events[-1] == "WaitSucceeded"
    assert run.commands == []
    run.do(Transition.resume)
    assert run.events[-1] == "ExecutionResumed"
    assert run.commands == [Resume(2)]
    assert run.begin()


def test_a_turn_that_was_asked_for_before_a_pause_follows_it() -> None:
    run = Run()
    run.do(Transition.pause)
    assert run.execution.status == "PAUSED"
    assert not run.begin()
    run.do(Transition.resume)
    assert run.commands == [Resume(2)]


def test_a_pause_may_hold_the_time_of_an_execution() -> None:
    run = suspended(CALLBACK, timeout=100)
    run.do(Transition.pause, with_timeout=True)
    assert run.execution.next_due is None
    run.wait(500)
    run.do(Transition.resume)
    assert run.execution.next_due == 1600
    run.do(Transition.pause)
    run.do(Transition.pause)
    assert run.execution.next_due == 1600


def test_pausing_and_resuming_what_has_ended_is_refused() -> None:
    run = Run()
    run.begin()
    run.finish("SUCCEEDED", "1")
    for change in (Transition.pause, Transition.resume):
        with pytest.raises(ExecutionEnded):
            run.do(change)


def test_a_resume_without_a_pause_changes_nothing() -> None:
    run = Run()
    run.do(Transition.resume)
    assert run.changes.events == []


def test_a_turn_that_becomes_a_dead_letter_is_begun_by_its_message_alone() -> None:
    run = Run()
    run.begin()
    run.checkpoint(STEP)
    token = run.token
    assert run.do(Transition.note_dead_letter, 1, "d1", "it kills its process")
    assert run.history[-1].type == "InvocationCompleted"
    assert "it kills its process; the turn is the dead letter d1 of orders.place" in str(
        run.history[-1].details
    )
    assert (run.execution.status, run.execution.dead_letter) == ("RUNNING", "d1")
    with pytest.raises(StaleToken):
        run.checkpoint(STEP_DONE, token=token)
    assert run.begin(1)
    assert run.execution.dead_letter == ""


def test_noted_twice_it_is_noted_once() -> None:
    run = Run()
    run.begin()
    run.do(Transition.note_dead_letter, 1, "d1", "why")
    assert run.do(Transition.note_dead_letter, 1, "d1", "why")
    assert run.events.count("InvocationCompleted") == 1


@pytest.mark.parametrize("turn", [0, 2])
def test_the_dead_letter_of_another_turn_changes_nothing(turn: int) -> None:
    run = Run()
    run.begin()
    assert not run.do(Transition.note_dead_letter, turn, "d1", "why")
    assert (run.execution.running, run.execution.dead_letter) == (True, "")


def test_nor_does_one_of_an_execution_that_waits_or_has_ended() -> None:
    run = suspended(WAIT)
    assert not run.do(Transition.note_dead_letter, 1, "d1", "why")
    run.do(Transition.stop, None)
    assert not run.do(Transition.note_dead_letter, 1, "d1", "why")


def test_a_pause_that_waited_for_the_turn_begins_with_its_dead_letter() -> None:
    run = Run()
    run.begin()
    run.do(Transition.pause)
    run.do(Transition.note_dead_letter, 1, "d1", "why")
    assert run.execution.status == "PAUSED"
    assert not run.begin(1)
    run.do(Transition.resume)
    assert run.commands == [Resume(2)]
