"""What the code of a function has recorded: updates of operations, one checkpoint at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from eventmesh.durable.callback_id import new_callback_id
from eventmesh.durable.changes import Call
from eventmesh.durable.errors import InvalidUpdate
from eventmesh.durable.event import EventType, failure, payload
from eventmesh.durable.execution import (
    MAX_BYTES,
    MAX_DURATION,
    MAX_OPERATIONS,
    MAX_TIMEOUT,
    Execution,
)
from eventmesh.durable.operation import (
    ALLOWED_ACTIONS,
    ErrorObject,
    Operation,
    OperationAction,
    OperationType,
    OperationUpdate,
)
from eventmesh.durable.timers import advance
from eventmesh.durable.transition import Transition
from eventmesh.model.ids import new_id

Describe: TypeAlias = Callable[[Call], Mapping[str, Any]]
"""What is known of a function that is invoked: more fields of ChainedInvokeStartedDetails."""

_Apply: TypeAlias = Callable[[Transition, OperationUpdate, Operation], None]

_TOO_LARGE: Final = ErrorObject(
    f"the execution recorded more than {MAX_OPERATIONS} operations or {MAX_BYTES} bytes: divide "
    "it, by invoking another durable function for a part of its work",
    "Execution.QuotaExceeded",
)


def record_checkpoint(
    transition: Transition,
    token: str,
    updates: Sequence[OperationUpdate],
    request: bytes = b"",
    describe: Describe | None = None,
) -> bool:
    """Apply the updates of one checkpoint, in their order, all or none.

    `request` is what the caller sent, by which its repetition is recognised. What is due by now is
    done first, so that the answer tells it. Returns whether the invocation may go on: it may not
    when the execution has ended, by an update, its timeout or its limits.

    Raises StaleToken, and InvalidUpdate, which names the operation and the rule.
    """
    if not transition.take_token(token, request):
        return not transition.execution.is_ended
    advance(transition)
    for update in updates:
        if transition.execution.is_ended:
            break
        _apply(transition, update, describe)
    execution = transition.execution
    too_large = execution.count > MAX_OPERATIONS or execution.size > MAX_BYTES
    if too_large and not execution.is_ended:
        transition.end("FAILED", error=_TOO_LARGE)
    return not execution.is_ended


def _apply(transition: Transition, update: OperationUpdate, describe: Describe | None) -> None:
    check_update(transition, update)
    _count(transition, update)
    if update.type == "EXECUTION":
        succeeded = update.action == "SUCCEED"
        transition.end(
            "SUCCEEDED" if succeeded else "FAILED",
            update.payload if succeeded else None,
            None if succeeded else update.error,
        )
        return
    known = transition.execution.operations.get(update.id)
    if update.action == "START":
        # Sent again by a run that did not know that it was recorded, it changes nothing.
        if known is None or known.status == "READY":
            _start(transition, update, known, describe)
        return
    # A step or a context whose start was not sent in a checkpoint of its own.
    operation = known or _start(transition, update, None, describe)
    _ENDINGS[update.type, update.action](transition, update, operation)


def check_update(transition: Transition, update: OperationUpdate) -> None:
    """Raise InvalidUpdate if the update does not fit what is recorded."""
    if update.action not in ALLOWED_ACTIONS[update.type]:
        raise _invalid(update, f"a {update.type} cannot {update.action}")
    operations = transition.execution.operations
    if update.parent and update.parent not in operations:
        raise _invalid(update, f"its parent {update.parent!r} is not known")
    if update.parent and operations[update.parent].type != "CONTEXT":
        raise _invalid(update, f"its parent {update.parent!r} is no context")
    known = operations.get(update.id)
    if known is not None:
        if known.type != update.type:
            raise _invalid(update, f"it is a {known.type}: the code has changed")
        if known.is_ended:
            raise _invalid(update, f"it has ended: {known.status}")
        if known.status == "PENDING":
            raise _invalid(update, "its next attempt is not due")
    elif update.action == "CANCEL":
        raise _invalid(update, "it was not started")
    _check_numbers(update)


def _check_numbers(update: OperationUpdate) -> None:
    if update.type == "WAIT" and update.action == "START":
        _check_range(update, "WaitSeconds", update.duration, 1, MAX_DURATION)
    if update.action == "RETRY":
        _check_range(update, "NextAttemptDelaySeconds", update.next_attempt_delay, 1, MAX_DURATION)
    if update.type == "CALLBACK":
        _check_range(update, "TimeoutSeconds", update.timeout, 0, MAX_TIMEOUT)
        _check_range(update, "HeartbeatTimeoutSeconds", update.heartbeat_timeout, 0, MAX_TIMEOUT)
    if update.type == "CHAINED_INVOKE" and not update.function:
        raise _invalid(update, "it names no function: ChainedInvokeOptions.FunctionName")


def _check_range(update: OperationUpdate, name: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise _invalid(update, f"{name} is {number}, and must be from {least} to {most}")


def _start(
    transition: Transition,
    update: OperationUpdate,
    known: Operation | None,
    describe: Describe | None,
) -> Operation:
    now = transition.now
    if known is not None:  # A step whose next attempt begins.
        started = transition.put(replace(known, status="STARTED", due=None), outside=False)
        transition.record("StepStarted", {}, started)
        return started
    operation = Operation(
        update.id,
        update.type,
        "STARTED",
        now,
        name=update.name,
        parent=update.parent,
        subtype=update.subtype,
    )
    if update.type == "WAIT":
        operation = replace(operation, duration=update.duration, due=now + update.duration)
    elif update.type == "CALLBACK":
        operation = _open_callback(transition.execution, operation, update, now)
    elif update.type == "CHAINED_INVOKE":
        operation = replace(
            operation, payload=update.payload, function=update.function, tenant=update.tenant
        )
    operation = transition.put(operation, outside=False)
    transition.execution.count += 1
    if update.type == "CHAINED_INVOKE":
        _call(transition, operation, describe)
    else:
        transition.record(*_started(operation), operation)
    return operation


def _open_callback(
    execution: Execution, operation: Operation, update: OperationUpdate, now: float
) -> Operation:
    return replace(
        operation,
        callback_id=new_callback_id(execution, operation.id),
        timeout=update.timeout,
        heartbeat_timeout=update.heartbeat_timeout,
        due=now + update.timeout if update.timeout else None,
        heartbeat_due=now + update.heartbeat_timeout if update.heartbeat_timeout else None,
        subscription=update.subscription,
    )


def _call(transition: Transition, operation: Operation, describe: Describe | None) -> None:
    call = Call(
        operation.id, new_id(), operation.function, operation.payload, tenant=operation.tenant
    )
    transition.changes.commands.append(call)
    details: dict[str, Any] = {
        "FunctionName": call.function,
        "Input": payload(call.payload),
        **(describe(call) if describe is not None else {}),
    }
    if call.tenant:
        details["TenantId"] = call.tenant
    transition.record("ChainedInvokeStarted", details, operation)


def _started(operation: Operation) -> tuple[EventType, dict[str, Any]]:
    if operation.type == "WAIT":
        end = {"Duration": operation.duration, "ScheduledEndTimestamp": operation.due}
        return "WaitStarted", end
    if operation.type == "CALLBACK":
        timeouts = {"Timeout": operation.timeout, "HeartbeatTimeout": operation.heartbeat_timeout}
        set_ones = {name: seconds for name, seconds in timeouts.items() if seconds}
        return "CallbackStarted", {"CallbackId": operation.callback_id, **set_ones}
    return ("StepStarted" if operation.type == "STEP" else "ContextStarted"), {}


def _succeed_step(transition: Transition, update: OperationUpdate, operation: Operation) -> None:
    attempt = operation.attempt + 1
    ended = replace(
        operation,
        status="SUCCEEDED",
        ended=transition.now,
        result=update.payload,
        error=None,
        attempt=attempt,
    )
    transition.put(ended, outside=False)
    details = {"Result": payload(update.payload), "RetryDetails": {"CurrentAttempt": attempt}}
    transition.record("StepSucceeded", details, ended)


def _fail_step(transition: Transition, update: OperationUpdate, operation: Operation) -> None:
    attempt = operation.attempt + 1
    ended = replace(
        operation, status="FAILED", ended=transition.now, error=update.error, attempt=attempt
    )
    transition.put(ended, outside=False)
    details = {"Error": failure(update.error), "RetryDetails": {"CurrentAttempt": attempt}}
    transition.record("StepFailed", details, ended)


def _retry_step(transition: Transition, update: OperationUpdate, operation: Operation) -> None:
    # A condition that is polled retries with the state that it has: a payload, and no error.
    attempt, delay = operation.attempt + 1, update.next_attempt_delay
    pending = replace(
        operation,
        status="PENDING",
        attempt=attempt,
        due=transition.now + delay,
        result=update.payload if update.payload is not None else operation.result,
        error=update.error,
    )
    transition.put(pending, outside=False)
    retry = {"CurrentAttempt": attempt, "NextAttemptDelaySeconds": delay}
    if update.error is not None:
        transition.record(
            "StepFailed", {"Error": failure(update.error), "RetryDetails": retry}, pending
        )
    else:
        transition.record(
            "StepSucceeded", {"Result": payload(update.payload), "RetryDetails": retry}, pending
        )


def _succeed_context(transition: Transition, update: OperationUpdate, operation: Operation) -> None:
    ended = replace(
        operation,
        status="SUCCEEDED",
        ended=transition.now,
        result=update.payload,
        replay_children=update.replay_children,
    )
    transition.put(ended, outside=False)
    transition.record("ContextSucceeded", {"Result": payload(update.payload)}, ended)


def _fail_context(transition: Transition, update: OperationUpdate, operation: Operation) -> None:
    ended = replace(operation, status="FAILED", ended=transition.now, error=update.error)
    transition.put(ended, outside=False)
    transition.record("ContextFailed", {"Error": failure(update.error)}, ended)


def _cancel_wait(transition: Transition, update: OperationUpdate, operation: Operation) -> None:
    ended = replace(operation, status="CANCELLED", ended=transition.now, error=update.error)
    transition.put(ended, outside=False)
    transition.record("WaitCancelled", {"Error": failure(update.error)}, ended)


_ENDINGS: Final[Mapping[tuple[OperationType, OperationAction], _Apply]] = {
    ("STEP", "SUCCEED"): _succeed_step,
    ("STEP", "FAIL"): _fail_step,
    ("STEP", "RETRY"): _retry_step,
    ("CONTEXT", "SUCCEED"): _succeed_context,
    ("CONTEXT", "FAIL"): _fail_context,
    ("WAIT", "CANCEL"): _cancel_wait,
}


def _count(transition: Transition, update: OperationUpdate) -> None:
    transition.count(update.payload, update.name)
    if update.error is not None:
        error = update.error
        transition.count(error.message, error.type, error.data, *(error.stack_trace or ()))


def _invalid(update: OperationUpdate, why: str) -> InvalidUpdate:
    return InvalidUpdate(f"the {update.type} {update.name or update.id!r} was not recorded: {why}")
