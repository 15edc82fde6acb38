"""The history of an execution: events, which are only appended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeAlias

from eventmesh.durable.operation import ErrorObject
from eventmesh.model.value import value

EventType: TypeAlias = Literal[
    "ExecutionStarted",
    "ExecutionSucceeded",
    "ExecutionFailed",
    "ExecutionTimedOut",
    "ExecutionStopped",
    "ExecutionPaused",
    "ExecutionResumed",
    "ContextStarted",
    "ContextSucceeded",
    "ContextFailed",
    "WaitStarted",
    "WaitSucceeded",
    "WaitCancelled",
    "StepStarted",
    "StepSucceeded",
    "StepFailed",
    "ChainedInvokeStarted",
    "ChainedInvokeSucceeded",
    "ChainedInvokeFailed",
    "ChainedInvokeTimedOut",
    "ChainedInvokeStopped",
    "CallbackStarted",
    "CallbackSucceeded",
    "CallbackFailed",
    "CallbackTimedOut",
    "InvocationCompleted",
]


@value
class Event:
    """Something that happened: `id` counts from 1 in an execution, `time` is since the epoch.

    `details` are the fields of the type's own structure in the AWS API, by their names there, with
    times as numbers.
    """

    id: int
    type: EventType
    time: float
    details: Mapping[str, Any] = field(hash=False, repr=False)
    operation: str = ""
    name: str = ""
    parent: str = ""
    subtype: str = ""


def payload(text: str | None) -> dict[str, Any]:
    """A text as events have it."""
    return {"Truncated": False} if text is None else {"Payload": text, "Truncated": False}


def failure(error: ErrorObject | None) -> dict[str, Any]:
    """An error as events have it."""
    return {"Payload": error_fields(error), "Truncated": False}


def error_fields(error: ErrorObject | None) -> dict[str, Any]:
    """An error by the names of the AWS API, without what is not known."""
    if error is None:
        return {}
    fields = {
        "ErrorMessage": error.message,
        "ErrorType": error.type,
        "ErrorData": error.data,
        "StackTrace": None if error.stack_trace is None else list(error.stack_trace),
    }
    return {name: text for name, text in fields.items() if text is not None}
