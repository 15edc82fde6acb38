"""Invocations, results and calls, as the frames between a service and an instance have them.

Each is a head, which becomes JSON, and a body. A service reads what an instance sends with the same
care as a request from the network: code that was taken over may send anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import orjson
from multidict import CIMultiDict
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from eventmesh.engine.codecs.envelope import dump_error, load_error
from eventmesh.instances.wire.frames import FrameError
from eventmesh.model.errors import (
    InvocationError,
    PartialFailure,
    Problem,
    Reject,
    RetryLater,
    Signal,
)
from eventmesh.model.invocation import Batch, HttpRequest, Invocation, RouteTemplate
from eventmesh.model.message import Message
from eventmesh.model.result import Failure, Result, is_final_status

ModelT = TypeVar("ModelT", bound=BaseModel)

_INVOCATION: Final = tuple(
    each.name
    for each in fields(Invocation)
    if each.name not in {"payload", "http", "batch", "delivery", "claim", "log_tail"}
)
"""Taken from the class, so that a new field is carried too. A delivery, a claim, and what takes the
log, stay here."""
_HTTP: Final = tuple(each.name for each in fields(HttpRequest) if each.name != "route")


def dump_invocation(invocation: Invocation) -> tuple[dict[str, Any], bytes]:
    """Return the head and the body of a frame that asks to run an invocation."""
    head: dict[str, Any] = {name: getattr(invocation, name) for name in _INVOCATION}
    head["headers"] = {str(name): text for name, text in invocation.headers.items()}
    http, batch = invocation.http, invocation.batch
    if http is not None:
        route = http.route
        parts: dict[str, Any] = {name: getattr(http, name) for name in _HTTP}
        parts |= {
            "path": dict(http.path),
            "query": {name: list(values) for name, values in http.query.items()},
            # In pairs: a name may be there several times, and its case does not matter.
            "headers": [[str(name), text] for name, text in http.headers.items()],
            "route": [route.key, list(route.names), route.has_body, route.idempotency],
        }
        head["http"] = parts
    if batch is None:
        return head, invocation.payload
    head["batch"] = [len(body) for body in batch.bodies]
    return head, b"".join(batch.bodies)


def load_invocation(head: bytes, body: bytes) -> Invocation:
    """Read what `dump_invocation` wrote. The service is believed."""
    parts: dict[str, Any] = orjson.loads(head)
    http = parts.pop("http", None)
    sizes = parts.pop("batch", None)
    if http is not None:
        key, names, *others = http.pop("route")
        http["headers"] = CIMultiDict(http["headers"])
        http = HttpRequest(route=RouteTemplate(key, tuple(names), *others), **http)
    if sizes is None:
        return Invocation(payload=body, http=http, **parts)
    return Invocation(payload=b"", http=http, batch=Batch(_split(body, sizes)), **parts)


def _split(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    bodies: list[bytes] = []
    start = 0
    for size in sizes:
        bodies.append(body[start : start + size])
        start += size
    return bodies


def dump_result(result: Result, batch: Batch | None) -> tuple[dict[str, Any], bytes]:
    """Return the head and the body of a frame with a result. A stream is only said to be there."""
    head: dict[str, Any] = {
        "content_type": result.content_type,
        "status": result.status,
        "headers": {name: _header(text) for name, text in result.headers.items()},
        "stream": result.stream is not None,
    }
    if result.error is not None:
        head["error"] = dump_failure(result.error)
    if result.failures is not None:
        head["failures"] = _dump_failures(result.failures)
    if batch is not None and batch.invalid:
        head["invalid"] = _dump_failures(batch.invalid)
    return head, result.body


def _header(value: str | Sequence[str]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


def _dump_failures(failures: Mapping[int, Failure]) -> list[Any]:
    return [[index, dump_failure(failure)] for index, failure in failures.items()]


class ResultHead(BaseModel):
    """The head of a result, as an instance sends it."""

    model_config = ConfigDict(extra="forbid")

    content_type: str
    status: int
    headers: dict[str, str | list[str]]
    stream: bool
    error: dict[str, Any] | None = None
    failures: list[tuple[int, dict[str, Any]]] | None = None
    invalid: list[tuple[int, dict[str, Any]]] = []


def load_result(head: bytes, body: bytes, batch: Batch | None) -> tuple[Result, bool]:
    """Read what `dump_result` wrote, and whether a stream follows.

    The invalid items of a batch are filled in. Raises FrameError for what cannot be read.
    """
    parts = read_head(ResultHead, head)
    if parts.status and not is_final_status(parts.status):
        raise FrameError(f"a result has the status {parts.status}")
    items = range(len(batch.bodies) if batch is not None else 0)
    if batch is not None:
        batch.invalid.update(_load_failures(parts.invalid, items))
    result = Result(
        body,
        error=None if parts.error is None else load_failure(parts.error),
        content_type=parts.content_type,
        status=parts.status,
        headers=parts.headers,
        failures=None if parts.failures is None else _load_failures(parts.failures, items),
    )
    return result, parts.stream


def _load_failures(given: list[tuple[int, dict[str, Any]]], items: range) -> dict[int, Failure]:
    if any(index not in items for index, _ in given):
        raise FrameError("a result names an item that is not in its batch")
    return {index: load_failure(failure) for index, failure in given}


def dump_failure(failure: Failure) -> dict[str, Any]:
    """Return a failure as fields for JSON: a fault as replies have it, a signal as it is."""
    match failure:
        case RetryLater():
            return {"signal": "retry", "after": failure.after, "reason": str(failure.reason)}
        case Reject():
            return {"signal": "reject", "reason": str(failure.reason)}
        case Problem():
            return {
                "signal": "problem",
                "status": failure.status,
                "detail": failure.detail,
                "title": failure.title,
                "type": failure.type,
                "headers": failure.headers,
                "extensions": _plain(failure.extensions),
            }
        case PartialFailure():
            failures = {index: _as_text(why) for index, why in failure.failures.items()}
            return {"signal": "partial", "failures": failures}
        case _:
            return dump_error(failure)


def _plain(extensions: Mapping[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(extensions, default=str, option=orjson.OPT_NON_STR_KEYS))


def _as_text(why: Exception | str) -> str:
    return why if isinstance(why, str) else f"{type(why).__name__}: {why}"


class _Retry(BaseModel):
    signal: Literal["retry"]
    after: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    reason: str


class _Reject(BaseModel):
    signal: Literal["reject"]
    reason: str


class _Problem(BaseModel):
    signal: Literal["problem"]
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    title: str
    type: str
    headers: dict[str, str]
    extensions: dict[str, Any]


class _Partial(BaseModel):
    signal: Literal["partial"]
    failures: dict[int, str]


_Signal = Annotated[_Retry | _Reject | _Problem | _Partial, Field(discriminator="signal")]
_SIGNAL: Final[TypeAdapter[_Retry | _Reject | _Problem | _Partial]] = TypeAdapter(_Signal)


def load_failure(given: Mapping[str, Any]) -> Failure:
    """Read what `dump_failure` wrote. Raises FrameError for a signal that cannot be read."""
    if "signal" not in given:
        return load_error(given)
    try:
        return _to_signal(_SIGNAL.validate_python(given))
    except (ValidationError, TypeError) as error:
        raise FrameError(f"a signal cannot be read: {type(error).__name__}") from None


def _to_signal(read: _Retry | _Reject | _Problem | _Partial) -> Signal:
    match read:
        case _Retry():
            return RetryLater(read.after, read.reason)
        case _Reject():
            return Reject(read.reason)
        case _Partial():
            return PartialFailure(read.failures)
        case _Problem():
            return Problem(
                read.status,
                read.detail,
                title=read.title,
                type=read.type,
                headers=read.headers,
                **read.extensions,
            )


Operation: TypeAlias = Literal["request", "send", "emit"]


class Call(BaseModel):
    """What a handler in an instance asks its service to send, and in which run."""

    model_config = ConfigDict(extra="forbid")

    run: int
    operation: Operation
    target: str
    id: Annotated[str, Field(min_length=1, max_length=255)]
    content_type: str
    headers: dict[str, str]
    timeout: Annotated[float, Field(allow_inf_nan=False)] | None
    type: str
    delay: Annotated[float, Field(ge=0, allow_inf_nan=False)]


def dump_call(
    operation: Operation, target: str, message: Message, *, run: int, delay: float, now: float
) -> tuple[dict[str, Any], bytes]:
    """Return the head and the body of a frame that asks the service to make a call.

    Who calls is not part of it: the service knows that itself.
    """
    call = Call(
        run=run,
        operation=operation,
        target=target,
        id=message.id,
        content_type=message.content_type,
        headers=dict(message.headers),
        timeout=None if message.deadline is None else message.deadline - now,
        type=message.type,
        delay=delay,
    )
    return call.model_dump(), message.body


def load_call(head: bytes) -> Call:
    """Read what `dump_call` wrote. Raises FrameError for what cannot be read."""
    return read_head(Call, head)


def dump_answer(answer: Result | InvocationError | None) -> tuple[dict[str, Any], bytes]:
    """Return the head and the body of a frame with the outcome of a call; None if it was stored."""
    if answer is None:
        return {}, b""
    if isinstance(answer, Result):
        head, body = dump_result(answer, None)
        return {"result": head}, body
    return {"error": dump_error(answer)}, b""


def load_answer(head: bytes, body: bytes) -> Result | InvocationError | None:
    """Read what `dump_answer` wrote. The service is believed."""
    parts: dict[str, Any] = orjson.loads(head)
    if "error" in parts:
        return load_error(parts["error"])
    if "result" in parts:
        return load_result(orjson.dumps(parts["result"]), body, None)[0]
    return None


def read_head(model: type[ModelT], head: bytes) -> ModelT:
    """Read the head of a frame from an instance. Raises FrameError."""
    try:
        return model.model_validate_json(head)
    except ValidationError as error:
        reasons = error.errors(include_url=False, include_input=False)[:3]
        raise FrameError(f"a {model.__name__} cannot be read: {reasons}") from None
