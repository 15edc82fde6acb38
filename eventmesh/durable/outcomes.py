"""How others end what an execution waits for: callbacks, and functions that it invoked."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.errors import CallbackNotFound, CallbackNotOpen, CallbackTimedOut
from eventmesh.durable.event import EventType, failure, payload
from eventmesh.durable.operation import ErrorObject, Operation, OperationStatus
from eventmesh.durable.transition import Transition

_CALLED: Final[Mapping[OperationStatus, EventType]] = {
    "SUCCEEDED": "ChainedInvokeSucceeded",
    "FAILED": "ChainedInvokeFailed",
    "TIMED_OUT": "ChainedInvokeTimedOut",
    "STOPPED": "ChainedInvokeStopped",
}


def succeed_callback(transition: Transition, id: str, result: str | None) -> None:
    """End the callback of that id with a result. Raises CallbackNotOpen if it has ended."""
    found = _find_open(transition, id)
    transition.count(result)
    ended = replace(found, status="SUCCEEDED", ended=transition.now, result=result)
    transition.put(ended, outside=True)
    transition.record("CallbackSucceeded", {"Result": payload(result)}, found)
    transition.request_turn()


def fail_callback(transition: Transition, id: str, error: ErrorObject) -> None:
    """End the callback of that id with an error. Raises CallbackNotOpen if it has ended."""
    found = _find_open(transition, id)
    transition.count(error.message, error.data)
    ended = replace(found, status="FAILED", ended=transition.now, error=error)
    transition.put(ended, outside=True)
    transition.record("CallbackFailed", {"Error": failure(error)}, found)
    transition.request_turn()


def keep_callback(transition: Transition, id: str) -> None:
    """Take a heartbeat: its timeout begins anew. Raises CallbackNotOpen if it has ended."""
    found = _find_open(transition, id)
    if found.heartbeat_timeout:
        beaten = replace(found, heartbeat_due=transition.now + found.heartbeat_timeout)
        # No news to the code: it waits for the end of the callback.
        transition.put(beaten, outside=False)


def deliver_event(
    transition: Transition, operations: Collection[str], event: str, record: str
) -> None:
    """End operations that wait for an event, whose id is `event`; those that have ended stay so."""
    if transition.execution.is_ended:
        return
    for id in operations:
        found = transition.execution.operations.get(id)
        if found is None or found.subscription is None or found.is_ended:
            continue
        transition.count(record)
        ended = replace(found, status="SUCCEEDED", ended=transition.now, result=record, event=event)
        transition.put(ended, outside=True)
        transition.record("CallbackSucceeded", {"Result": payload(record)}, found)
        transition.request_turn()


def end_call(
    transition: Transition,
    operation: str,
    status: OperationStatus,
    result: str | None = None,
    error: ErrorObject | None = None,
) -> None:
    """End a chained invoke as the function that was invoked ended.

    Told again, because a message was delivered twice, it changes nothing.
    """
    found = transition.execution.operations.get(operation)
    if found is None or found.type != "CHAINED_INVOKE" or found.is_ended:
        return
    if transition.execution.is_ended:
        return
    transition.count(result)
    ended = replace(found, status=status, ended=transition.now, result=result, error=error)
    transition.put(ended, outside=True)
    details = {"Result": payload(result)} if status == "SUCCEEDED" else {"Error": failure(error)}
    transition.record(_CALLED[status], details, found)
    transition.request_turn()


def _find_open(transition: Transition, id: str) -> Operation:
    found = transition.execution.operations.get(read_callback_id(id).operation)
    # In the same time for every wrong id, so that none can be guessed digit by digit.
    if found is None or not hmac.compare_digest(found.callback_id.encode(), id.encode()):
        raise CallbackNotFound("there is no callback of that id")
    if found.is_ended or transition.execution.is_ended:
        kind = CallbackTimedOut if found.status == "TIMED_OUT" else CallbackNotOpen
        raise kind(f"the callback {found.name or found.id!r} has ended: {found.status}")
    return found
