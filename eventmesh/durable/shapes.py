"""The JSON of AWS's API for durable executions, to and from values.

Names, patterns and limits are those of its service model (Lambda 2015-03-31, the operations of
2025-12-01). Times are seconds since the epoch in answers of the API, and milliseconds in what a
function is invoked with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_pascal

from eventmesh.durable.errors import InvalidUpdate
from eventmesh.durable.event import Event, error_fields
from eventmesh.durable.execution import Execution
from eventmesh.durable.operation import (
    ErrorObject,
    Operation,
    OperationAction,
    OperationType,
    OperationUpdate,
)

MAX_PAYLOAD: Final = 6 * 1024 * 1024
"""Characters of one payload or result."""

_MAX_UPDATES: Final = 1000
_MAX_STACK: Final = 1000

_Id = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7E]{1,256}$")]
_Subtype = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,32}$")]
_Payload = Annotated[str, StringConstraints(max_length=MAX_PAYLOAD)]
_Function = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Tenant = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._:/=+@ -]{1,256}$")]


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, strict=True, hide_input_in_errors=True)


class ErrorShape(_Shape):
    """ErrorObject."""

    error_message: _Payload | None = None
    error_type: _Payload | None = None
    error_data: _Payload | None = None
    stack_trace: Annotated[list[_Payload], Field(max_length=_MAX_STACK)] | None = None

    def to_value(self) -> ErrorObject:
        """The value of it."""
        stack = None if self.stack_trace is None else tuple(self.stack_trace)
        return ErrorObject(self.error_message, self.error_type, self.error_data, stack)


class _ContextOptions(_Shape):
    replay_children: bool = False


class _StepOptions(_Shape):
    next_attempt_delay_seconds: int = 1


class _WaitOptions(_Shape):
    wait_seconds: int = 1


class _CallbackOptions(_Shape):
    timeout_seconds: int = 0
    heartbeat_timeout_seconds: int = 0


class _ChainedInvokeOptions(_Shape):
    function_name: _Function
    tenant_id: _Tenant | None = None


class _UpdateShape(_Shape):
    id: _Id
    type: OperationType
    action: OperationAction
    parent_id: _Id | None = None
    name: _Name | None = None
    sub_type: _Subtype | None = None
    payload: _Payload | None = None
    error: ErrorShape | None = None
    context_options: _ContextOptions | None = None
    step_options: _StepOptions | None = None
    wait_options: _WaitOptions | None = None
    callback_options: _CallbackOptions | None = None
    chained_invoke_options: _ChainedInvokeOptions | None = None

    def to_value(self) -> OperationUpdate:
        context = self.context_options or _ContextOptions()
        callback = self.callback_options or _CallbackOptions()
        called = self.chained_invoke_options
        return OperationUpdate(
            self.id,
            self.type,
            self.action,
            name=self.name or "",
            parent=self.parent_id or "",
            subtype=self.sub_type or "",
            payload=self.payload,
            error=None if self.error is None else self.error.to_value(),
            replay_children=context.replay_children,
            next_attempt_delay=(self.step_options or _StepOptions()).next_attempt_delay_seconds,
            duration=(self.wait_options or _WaitOptions()).wait_seconds,
            timeout=callback.timeout_seconds,
            heartbeat_timeout=callback.heartbeat_timeout_seconds,
            function="" if called is None else called.function_name,
            tenant="" if called is None else called.tenant_id or "",
        )


_UPDATES: Final = TypeAdapter(Annotated[list[_UpdateShape], Field(max_length=_MAX_UPDATES)])


def parse_updates(updates: object) -> list[OperationUpdate]:
    """Read the Updates of a checkpoint. Raises InvalidUpdate, which names the field."""
    try:
        return [update.to_value() for update in _UPDATES.validate_python(updates)]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in ("Updates", *first["loc"]))
        raise InvalidUpdate(f"{place}: {first['msg']}") from None


def operation_fields(operation: Operation, unit: int = 1) -> dict[str, Any]:
    """An Operation of the API, with times in 1/`unit` seconds: 1, or 1000 for milliseconds."""
    fields: dict[str, Any] = {
        "Id": operation.id,
        "Type": operation.type,
        "Status": operation.status,
        "StartTimestamp": _time(operation.started, unit),
    }
    optional = {
        "ParentId": operation.parent,
        "Name": operation.name,
        "SubType": operation.subtype,
        "EndTimestamp": _time(operation.ended, unit),
    }
    fields |= {name: text for name, text in optional.items() if text}
    key, details = _details(operation, unit)
    return fields | {key: details}


def _details(operation: Operation, unit: int) -> tuple[str, dict[str, Any]]:
    outcome: dict[str, Any] = {}
    if operation.result is not None:
        outcome["Result"] = operation.result
    if operation.error is not None:
        outcome["Error"] = error_fields(operation.error)
    if operation.type == "WAIT":
        end = operation.started + operation.duration
        return "WaitDetails", {"ScheduledEndTimestamp": _time(end, unit)}
    if operation.type == "STEP":
        step: dict[str, Any] = {"Attempt": operation.attempt}
        if operation.status == "PENDING":
            step["NextAttemptTimestamp"] = _time(operation.due, unit)
        return "StepDetails", step | outcome
    if operation.type == "CONTEXT":
        return "ContextDetails", {"ReplayChildren": operation.replay_children} | outcome
    if operation.type == "CALLBACK":
        return "CallbackDetails", {"CallbackId": operation.callback_id} | outcome
    return "ChainedInvokeDetails", outcome


def execution_operation(execution: Execution, unit: int = 1) -> dict[str, Any]:
    """The execution itself as the first of its operations, which has its input."""
    details = {} if execution.payload is None else {"InputPayload": execution.payload}
    return {
        "Id": execution.id,
        "Type": "EXECUTION",
        "Status": "STARTED",
        "StartTimestamp": _time(execution.started, unit),
        "ExecutionDetails": details,
    }


def invocation_payload(
    execution: Execution,
    arn: str,
    token: str,
    operations: Iterable[Operation],
    *,
    updated: Sequence[str],
    marker: str = "",
) -> dict[str, Any]:
    """What the SDKs expect a durable function to be invoked with.

    `updated` are the operations that changed since the last invocation, and `marker` is where
    GetDurableExecutionState goes on, if these are not all operations.
    """
    return {
        "DurableExecutionArn": arn,
        "CheckpointToken": token,
        "InitialExecutionState": {
            "Operations": [
                execution_operation(execution, 1000),
                *(operation_fields(operation, 1000) for operation in operations),
            ],
            "NextMarker": marker,
        },
        "UpdatedOperationIds": list(updated),
    }


def event_fields(event: Event, *, data: bool = True) -> dict[str, Any]:
    """An Event of the API; without `data`, payloads, results and errors are left out."""
    fields: dict[str, Any] = {
        "EventType": event.type,
        "EventId": event.id,
        "EventTimestamp": event.time,
    }
    optional = {
        "SubType": event.subtype,
        "Id": event.operation,
        "Name": event.name,
        "ParentId": event.parent,
    }
    fields |= {name: text for name, text in optional.items() if text}
    details = event.details if data else _without_data(event.details)
    return fields | {f"{event.type}Details": details}


def _without_data(details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"Truncated": True} if isinstance(part, Mapping) and "Payload" in part else part
        for name, part in details.items()
    }


def execution_fields(execution: Execution, arn: str, function_arn: str) -> dict[str, Any]:
    """An Execution of the API, as ListDurableExecutionsByFunction has it."""
    fields: dict[str, Any] = {
        "DurableExecutionArn": arn,
        "DurableExecutionName": execution.name,
        "FunctionArn": function_arn,
        "StartTimestamp": execution.started,
        "Status": execution.status,
    }
    return fields if execution.ended is None else fields | {"EndTimestamp": execution.ended}


def execution_details(
    execution: Execution, arn: str, function_arn: str, *, data: bool = True
) -> dict[str, Any]:
    """What GetDurableExecution answers; without `data`, no payload, result and error."""
    fields = execution_fields(execution, arn, function_arn)
    fields |= {"Version": execution.version, "ExecutionDataIncluded": data}
    if data:
        payloads = {"InputPayload": execution.payload, "Result": execution.result}
        fields |= {name: text for name, text in payloads.items() if text is not None}
        if execution.error is not None:
            fields["Error"] = error_fields(execution.error)
    if execution.timeout is not None:
        fields["DurableConfig"] = {"ExecutionTimeout": execution.timeout}
    if execution.expires is not None and not execution.is_ended:
        fields["ExpectedExecutionTimeoutTimestamp"] = execution.expires
    if execution.paused is not None:
        fields["PauseDetails"] = {
            "PauseRequestTimestamp": execution.paused,
            "Reason": execution.pause_reason,
            "ExecutionTimeoutPaused": execution.timeout_paused,
        }
    return fields


def _time(seconds: float | None, unit: int) -> float | int | None:
    if seconds is None:
        return None
    return seconds if unit == 1 else round(seconds * unit)
