"""The messages by which executions go on, and how the commands of a transition become such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from eventmesh.durable.changes import Answer, Call, Resume
from eventmesh.durable.completion import ANSWER, CALL, DURABLE, TURN, WAKE
from eventmesh.durable.event import error_fields
from eventmesh.durable.keeper import Change
from eventmesh.durable.operation import OperationStatus
from eventmesh.durable.shapes import ErrorShape
from eventmesh.executions.messages.headers import own_headers, resuming_headers, turn_headers
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message

CALLER_HEADER: Final = "em-durable-caller"
"""Of an invocation: the execution and the operation that wait for its outcome."""

EXECUTION_HEADER: Final = "em-durable-execution"
"""Of an invocation: the id that its execution gets, if the function is durable."""

TENANT_HEADER: Final = "em-tenant"
"""Of an invocation: for whom its caller says that it works, as AWS Lambda has it."""

ACCEPTED: Final = "application/vnd.eventmesh.durable-execution+json"
"""The type of the answer of a durable function that will tell its outcome later."""


class Content(BaseModel):
    """What these messages have; each kind needs a part of it."""

    execution: str
    turn: int = 0
    operation: str = ""
    function: str = ""
    callee: str = ""
    payload: str | None = None
    tenant: str = ""
    status: OperationStatus = "FAILED"
    result: str | None = None
    error: ErrorShape | None = None


async def send_commands(change: Change) -> None:
    """Send what the transition asks for, with the commit of the change."""
    execution, transition = change.execution, change.transition
    for command in transition.changes.commands:
        if isinstance(command, Resume):
            resumed = {"execution": execution.id, "turn": command.turn}
            headers = resuming_headers(execution)
            await _send(
                change, execution.function, TURN, resumed, headers=headers, delay=command.delay
            )
        elif isinstance(command, Call):
            called = {"execution": execution.id, "operation": command.operation} | _call(command)
            headers = turn_headers(execution)
            await _send(change, execution.function, CALL, called, headers=headers)
        else:
            answer, headers = _answer(command), turn_headers(execution)
            await _send(change, execution.caller_function, ANSWER, answer, headers=headers)
    transition.changes.commands.clear()
    await _send_wake(change)


async def _send_wake(change: Change) -> None:
    """Have time noticed when the execution is due, unless a message comes before that anyway."""
    execution, now = change.execution, change.transition.now
    due = execution.next_due
    if due is None or (execution.wake is not None and now < execution.wake <= due):
        return
    execution.wake = due
    content, headers = {"execution": execution.id}, own_headers(execution)
    wait = max(due - now, 0.0)
    await _send(change, execution.function, WAKE, content, headers=headers, delay=wait)


async def _send(
    change: Change,
    function: str,
    type: str,
    content: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    delay: float = 0.0,
) -> None:
    now = change.transition.now
    message = Message(
        orjson.dumps(content),
        new_id(),
        now + delay,
        headers=headers,
        trigger=DURABLE,
        type=type,
        caller=change.execution.function,
        principal=change.execution.principal,
    )
    await change.transport.send(function, message, delay)


def _call(command: Call) -> dict[str, Any]:
    return {
        "function": command.function,
        "callee": command.execution,
        "payload": command.payload,
        "tenant": command.tenant,
    }


def _answer(command: Answer) -> dict[str, Any]:
    return {
        "execution": command.execution,
        "operation": command.operation,
        "status": command.status,
        "result": command.result,
        "error": None if command.error is None else error_fields(command.error),
    }


def read_content(body: bytes) -> Content:
    """Read a message of this kind. Raises PayloadInvalid for one that is none."""
    try:
        return Content.model_validate_json(body)
    except ValidationError:
        raise PayloadInvalid(
            "the message is none by which an execution goes on: it is not run"
        ) from None
