"""What time does to an execution."""

from __future__ import annotations

from dataclasses import replace

from eventmesh.durable.event import failure
from eventmesh.durable.execution import Execution, ExecutionStatus
from eventmesh.durable.operation import ErrorObject, Operation
from eventmesh.durable.transition import Transition

_TIMEOUT = ErrorObject("the callback was not completed within its timeout", "Callback.Timeout")
_HEARTBEAT = ErrorObject(
    "no heartbeat of the callback came within its heartbeat timeout", "Callback.Heartbeat"
)


def advance(transition: Transition) -> None:
    """Do all that is due by now, in the order in which it became due."""
    execution = transition.execution
    if execution.is_ended:
        return
    expires = execution.expires
    due = [
        (time, operation)
        for operation in execution.operations.values()
        if (time := operation.next_due) is not None and time <= transition.now
    ]
    for time, operation in sorted(due, key=lambda pair: (pair[0], pair[1].changed)):
        if expires is None or time < expires:
            _advance_operation(transition, operation)
    if expires is not None and expires <= transition.now:
        transition.end("TIMED_OUT", error=_describe_timeout(execution))
    elif due:
        transition.request_turn()


def end_turn(
    transition: Transition,
    token: str,
    status: ExecutionStatus | None,
    result: str | None = None,
    error: ErrorObject | None = None,
) -> None:
    """End an invocation as `Transition.end_invocation` does, and do all that is due by now.

    What fell due while the code waited already comes behind the end of its invocation: the code did
    not see it. An execution that is out of time has timed out, whatever its code returned.
    """
    if status is not None:
        advance(transition)
    transition.end_invocation(token, status, result, error)
    advance(transition)


def _describe_timeout(execution: Execution) -> ErrorObject:
    message = "the execution did not end within its timeout"
    if execution.dead_letter:
        message += (
            f": its turn {execution.turn} is the dead letter {execution.dead_letter} of "
            f"{execution.function}, and was not redriven"
        )
    return ErrorObject(message, "Execution.Timeout")


def _advance_operation(transition: Transition, operation: Operation) -> None:
    if operation.type == "STEP":
        transition.put(replace(operation, status="READY"), outside=True)
        return
    if operation.type == "WAIT":
        ended = replace(operation, status="SUCCEEDED", ended=transition.now)
        transition.put(ended, outside=True)
        transition.record("WaitSucceeded", {"Duration": operation.duration}, operation)
        return
    heartbeat, due = operation.heartbeat_due, operation.due
    missed = heartbeat is not None and (due is None or heartbeat < due)
    error = _HEARTBEAT if missed else _TIMEOUT
    ended = replace(operation, status="TIMED_OUT", ended=transition.now, error=error)
    transition.put(ended, outside=True)
    transition.record("CallbackTimedOut", {"Error": failure(error)}, operation)
