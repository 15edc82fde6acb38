"""What may be asked about executions, and done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any, Final, Protocol, cast

import orjson

from eventmesh.durable.event import Event, error_fields
from eventmesh.durable.execution import ENDED_STATUSES, Execution, ExecutionStatus
from eventmesh.durable.keeper import ExecutionFilter, Page
from eventmesh.durable.operation import ErrorObject, Operation
from eventmesh.engine.codecs.identity import decode_identity
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.value import value

MAX_LISTED: Final = 500
"""Executions or events in one page, at most."""

MAX_SHOWN: Final = 8 * 1024
"""Bytes of a payload, a result or an error in a history; longer ones are cut."""

ALL: Final = ExecutionFilter()
FIRST: Final = Page()


@value
class OperationReport:
    """An operation that is open. Times are since the epoch; `due` is when time changes it.

    `function` is the one that a chained invoke waits for, and `attempt` counts the attempts of a
    step that have ended.
    """

    id: str
    type: str
    name: str
    status: str
    started: float
    due: float | None = None
    attempt: int = 0
    function: str = ""


@value
class ExecutionReport:
    """What is told of an execution. Times are since the epoch.

    `turns` counts the turns that were asked for, `operations` what it has recorded, and `due` is
    when time makes it go on, unless something else does before. `requested` tells that a turn was
    asked for and has not begun, and `running` that one runs. `dead_letter` is the id of the dead
    letter that the turn became, or "". `version` is that of the code that began it, "" if it is not
    known. `caller` is the execution that waits for it, or "". `principal` is the name of who began
    it, "" where nobody had to say who they are. `result` is JSON. A list has neither `result` nor
    `open`, the operations that it waits for.
    """

    id: str
    name: str
    function: str
    version: str
    status: ExecutionStatus
    started: float
    ended: float | None = None
    turns: int = 0
    operations: int = 0
    due: float | None = None
    requested: bool = False
    running: bool = False
    dead_letter: str = ""
    error: ErrorObject | None = None
    paused: float | None = None
    pause_reason: str = ""
    caller: str = ""
    principal: str = ""
    result: str | None = field(default=None, repr=False)
    open: tuple[OperationReport, ...] = ()

    @property
    def is_ended(self) -> bool:
        """Whether it changes no more."""
        return self.status in ENDED_STATUSES


class ExecutionAccess(Protocol):
    """The executions of a mesh, or of a store.

    `function` is that of the execution, where it is known: then its service alone is asked. All
    raise FunctionNotFound for an execution that is not known, AccessDenied, BrokerUnavailable and
    StoreUnavailable.
    """

    async def list(
        self, which: ExecutionFilter = ALL, page: Page = FIRST
    ) -> tuple[Sequence[ExecutionReport], str]:
        """Return executions, and where the list goes on, or "": at most `MAX_LISTED` at once."""
        ...

    async def show(self, id: str, function: str = "") -> ExecutionReport:
        """Return an execution with its result and the operations that it waits for."""
        ...

    async def history(
        self, id: str, page: Page = FIRST, *, function: str = "", newest_first: bool = False
    ) -> tuple[Sequence[Event], str]:
        """Return what happened, and where the list goes on, or "".

        Payloads are cut at `MAX_SHOWN` bytes. The ids of callbacks, which are secrets, are left
        out.
        """
        ...

    async def stop(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        """End an execution, and return how it is then. What has ended stays as it is.

        What runs may record nothing more, nothing is undone, and who invoked it is told.
        """
        ...

    async def pause(
        self, id: str, reason: str = "", *, hold_timeout: bool = False, function: str = ""
    ) -> ExecutionReport:
        """Begin no further turn of an execution, and return how it is then.

        With `hold_timeout` its timeout waits too.
        """
        ...

    async def resume(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        """End a pause, and return how the execution is then.

        One that is not paused, and whose turn was asked for and does not begin, because its message
        was lost or is a dead letter, is asked for another turn.
        """
        ...


def report(execution: Execution, *, whole: bool) -> ExecutionReport:
    """Describe an execution; a `whole` one has its open operations loaded."""
    told = ExecutionReport(
        execution.id,
        execution.name,
        execution.function,
        execution.revision,
        execution.status,
        execution.started,
        execution.ended,
        turns=execution.turn,
        operations=execution.count,
        due=None if execution.is_ended else execution.wake,
        requested=execution.requested,
        running=execution.running,
        dead_letter=execution.dead_letter,
        error=_cut_error(execution.error),
        paused=execution.paused,
        pause_reason=execution.pause_reason,
        caller=execution.caller,
        principal=decode_identity(execution.principal).principal,
    )
    if not whole:
        return told
    waiting = [each for each in execution.operations.values() if not each.is_ended]
    return replace(
        told,
        result=execution.result,
        error=execution.error,
        open=tuple(_report_operation(each) for each in waiting),
    )


def redact(event: Event) -> Event:
    """Return an event without what a reader of the history must not have, or is too long."""
    details = {name: _cut(what) for name, what in event.details.items() if name != "CallbackId"}
    return replace(event, details=details)


def not_found(id: str, why: str = "") -> FunctionNotFound:
    """Return what to raise for an execution that is not known."""
    advice = why or "check its id; those that ended long ago are not kept"
    return FunctionNotFound(f"execution {id}", advice)


def _report_operation(operation: Operation) -> OperationReport:
    return OperationReport(
        operation.id,
        operation.type,
        operation.name,
        operation.status,
        operation.started,
        operation.next_due,
        operation.attempt,
        operation.function,
    )


def _cut_error(error: ErrorObject | None) -> ErrorObject | None:
    """Return an error without its trace and data: there may be hundreds in a list."""
    if error is None:
        return None
    message = None if error.message is None else _cut_text(error.message)
    return ErrorObject(message, error.type)


def _cut(what: Any) -> Any:
    """Cut a payload as events have it; another detail is returned as it is."""
    if not isinstance(what, dict):
        return what
    fields = cast(dict[str, Any], what)
    if "Truncated" not in fields:
        return fields
    payload: Any = fields.get("Payload")
    if payload is None or len(orjson.dumps(payload)) <= MAX_SHOWN:
        return fields
    if isinstance(payload, str):
        return {"Payload": _cut_text(payload), "Truncated": True}
    error = ErrorObject(_cut_text(str(payload.get("ErrorMessage"))), payload.get("ErrorType"))
    return {"Payload": error_fields(error), "Truncated": True}


def _cut_text(text: str) -> str:
    return text.encode()[:MAX_SHOWN].decode(errors="ignore")
