"""Encodes invocations, results and errors as messages, and decodes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from eventmesh.engine.codecs.json import MAX_MESSAGE, MAX_TRACEBACK, decode, truncate_middle
from eventmesh.engine.codecs.json_bounds import is_small_json
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionError,
    FunctionNotFound,
    InvocationError,
    InvocationTimeout,
    PayloadInvalid,
    PayloadTooLarge,
    Signal,
    StoreUnavailable,
    Throttled,
    Unauthenticated,
)
from eventmesh.model.invocation import Delivered, Invocation, Mode, make_invocation
from eventmesh.model.message import JSON, Message, make_message
from eventmesh.model.result import Failure, Result

ERROR_TYPE: Final = "error"
"""The type of a reply that carries an error instead of a value."""


def invocation_from(
    message: Message,
    function: str,
    mode: Mode,
    *,
    trigger: str | None = None,
    delivery: Delivered | None = None,
) -> Invocation:
    """Return the invocation of `function` that a message asks for.

    `trigger` stands in place of the message's own, unless it is None. Who passes the `delivery` of
    the message requeues it if its run is `NotBegun`.
    """
    return make_invocation(
        function=function,
        id=message.id,
        payload=message.body,
        created=message.timestamp,
        mode=mode,
        content_type=message.content_type,
        headers=message.headers,
        trigger=message.trigger if trigger is None else trigger,
        attempt=message.attempt,
        deadline=message.deadline,
        caller=message.caller,
        type=message.type,
        principal=message.principal,
        delivery=delivery,
        redeliveries=message.redeliveries if delivery is None else delivery.redeliveries,
    )


def message_from(invocation: Invocation, body: bytes) -> Message:
    """Return the message that stores an invocation, to be run later, with `body` as its payload.

    It has no deadline: nobody waits for it.
    """
    return make_message(
        body=body,
        id=invocation.id,
        timestamp=invocation.created,
        content_type=invocation.content_type,
        headers=invocation.headers,
        trigger=invocation.trigger,
        attempt=invocation.attempt,
        caller=invocation.caller,
        type=invocation.type,
        principal=invocation.principal,
        redeliveries=invocation.redeliveries,
    )


def reply_from(result: Result, request: Message, now: float) -> Message:
    """Return the reply that carries a result, which has no stream, to the caller."""
    error = result.error
    return Message(
        result.body if error is None else orjson.dumps(dump_error(error)),
        request.id,
        now,
        content_type=result.content_type if error is None else JSON,
        type="" if error is None else ERROR_TYPE,
        correlation_id=request.correlation_id,
    )


def result_from(reply: Message) -> Result:
    """Return the result in a reply. Raises PayloadInvalid for one that cannot be read."""
    if reply.type != ERROR_TYPE:
        return Result(reply.body, content_type=reply.content_type)
    return Result(b"", error=load_error(decode(reply.body, "the reply")))


def outcome_record(
    function: str, request: Message, result: Result, reason: str, now: float
) -> bytes:
    """Encode what a destination gets of an invocation: the request, and its result or error.

    `reason` says why it became a dead letter; it is empty for a success.
    """
    record: dict[str, Any] = {
        "function": function,
        "id": request.id,
        "outcome": "failure" if result.error is not None or reason else "success",
        "attempts": request.attempt,
        "trigger": request.trigger,
        "time": datetime.fromtimestamp(now, UTC).isoformat(),
        "request": _json_or_text(request.body),
    }
    if record["outcome"] == "success":
        record["result"] = _json_or_text(result.body)
    else:
        fields = {} if result.error is None else dump_error(result.error)
        fields.pop("traceback", None)
        record |= {"reason": _text(reason), "error": fields}
    return orjson.dumps(record)


def _json_or_text(body: bytes) -> Any:
    if not is_small_json(body):
        return body.decode(errors="replace") or None
    return orjson.Fragment(body)  # As it came: nothing is lost of long numbers and deep nesting.


def to_fault(error: Failure) -> InvocationError:
    """Return a failure as a fault: outside its own settlement, a handler's signal is one."""
    return FunctionError(type(error).__name__, str(error)) if isinstance(error, Signal) else error


def dump_error(failure: Failure) -> dict[str, Any]:
    """Return a failure as fields for JSON: `code`, `message`, and those of its kind."""
    error = to_fault(failure)
    fields: dict[str, Any] = {"code": error.code, "message": _text(str(error))}
    match error:
        case FunctionNotFound():
            fields |= {"name": _text(error.name), "advice": _text(error.advice)}
        case Throttled():
            fields |= {"message": _text(error.message), "retry_after": error.retry_after}
        case FunctionError():
            fields |= {
                "type": _text(error.type),
                "message": _text(error.message),
                "traceback": truncate_middle(error.traceback, MAX_TRACEBACK),
            }
        case PayloadInvalid():
            reasons = [_reason(reason) for reason in error.errors]
            fields |= {"message": _text(error.message), "errors": reasons}
        case PayloadTooLarge():
            fields |= {
                "size": error.size,
                "limit": error.limit,
                "setting": _text(error.setting),
                "unit": _text(error.unit),
            }
        case InvocationTimeout() | AccessDenied() | BrokerUnavailable() | StoreUnavailable():
            pass
        case _:  # A kind of the user's own.
            fields["type"] = type(error).__name__
    return fields


def _text(text: str) -> str:
    return truncate_middle(text, MAX_MESSAGE)


def _reason(error: Mapping[str, Any]) -> dict[str, Any]:
    location = (
        part if isinstance(part, int) else _text(str(part)) for part in error.get("loc", ())
    )
    return {
        "loc": list(location),
        "msg": _text(str(error.get("msg", ""))),
        "type": _text(str(error.get("type", ""))),
    }


def load_error(fields: Any) -> InvocationError:
    """Read the fields of `dump_error`.

    An unknown kind becomes a FunctionError, and so do fields that cannot be read.
    """
    try:
        parsed = _ErrorFields.model_validate(fields)
    except ValidationError:
        return FunctionError("Error", "it failed, but how cannot be read from the reply")
    return _KINDS.get(parsed.code, _function_error)(parsed)


class _Reason(BaseModel):
    loc: tuple[int | str, ...] = ()
    msg: str = ""
    type: str = ""


class _ErrorFields(BaseModel):
    """The fields of all kinds of failures together."""

    code: str = ""
    message: str = ""
    type: str = "Error"
    traceback: str = ""
    name: str = ""
    advice: str = ""
    retry_after: float = 1.0
    errors: list[_Reason] = []
    size: int = 0
    limit: int = 0
    setting: str = ""
    unit: str = "bytes"


def _function_error(fields: _ErrorFields) -> InvocationError:
    return FunctionError(fields.type, fields.message, fields.traceback)


_KINDS: Final[Mapping[str, Callable[[_ErrorFields], InvocationError]]] = {
    FunctionNotFound.code: lambda fields: FunctionNotFound(fields.name, fields.advice),
    Throttled.code: lambda fields: Throttled(fields.message, fields.retry_after),
    InvocationTimeout.code: lambda fields: InvocationTimeout(fields.message),
    PayloadInvalid.code: lambda fields: PayloadInvalid(
        fields.message, [reason.model_dump() for reason in fields.errors]
    ),
    PayloadTooLarge.code: lambda fields: PayloadTooLarge(
        fields.size, fields.limit, fields.setting, fields.unit
    ),
    AccessDenied.code: lambda fields: AccessDenied(fields.message),
    Unauthenticated.code: lambda fields: Unauthenticated(fields.message),
    BrokerUnavailable.code: lambda fields: BrokerUnavailable(fields.message),
    StoreUnavailable.code: lambda fields: StoreUnavailable(fields.message),
}
