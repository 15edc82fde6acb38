"""The executions of durable functions, and their callbacks, in the control API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, Field, ValidationError

from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.completion import COMPLETE, DURABLE, Completion
from eventmesh.durable.errors import CallbackNotOpen
from eventmesh.durable.shapes import ErrorShape
from eventmesh.engine.codecs.json import encode
from eventmesh.engine.executions.access import MAX_LISTED, ExecutionAccess, ExecutionReport
from eventmesh.engine.executions.mesh import MeshExecutions
from eventmesh.engine.executions.messages import MAX_REASON, Answer, dump_report
from eventmesh.engine.executions.messages import Request as Asked
from eventmesh.engine.spec import SourceContext
from eventmesh.engine.upkeep.dead_letters import ListFunctions
from eventmesh.http.api.query import query_value, read_limit
from eventmesh.http.protocol import CALLBACKS, EXECUTIONS
from eventmesh.http.server.body import BodyLimit, read_body
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.http.server.routing import PathValues
from eventmesh.model.access.identity import Scope
from eventmesh.model.errors import FunctionNotFound, Problem
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message

ApiEndpoint: TypeAlias = Callable[[Request, PathValues, str], Awaitable[BytesResponse]]
"""Answers an admitted request. Takes the identity of its sender, too, as messages carry it."""

ApiRoute: TypeAlias = tuple[str, str, Scope, str, ApiEndpoint]
"""The method and path, the scope that is needed, what is done in words, and what answers."""

_Model = TypeVar("_Model", bound=BaseModel)

_TRUE: Final = "true"


class _Order(BaseModel):
    """Why an operator changes an execution; the body may be empty."""

    reason: str = Field(default="", max_length=MAX_REASON)
    hold_timeout: bool = False


class _Outcome(BaseModel):
    """What becomes of a callback: a `result`, any JSON, or an `error`, or a sign of life."""

    callback: str
    result: Any = None
    error: str | ErrorShape | None = None
    heartbeat: bool = False

    def to_completion(self) -> Completion:
        """Return it as it is sent to the function."""
        if self.heartbeat:
            return Completion(callback=self.callback, heartbeat=True)
        error = self.error
        if isinstance(error, str):
            error = ErrorShape.model_validate({"ErrorMessage": error, "ErrorType": "Error"})
        result = encode(self.result).decode() if error is None else None
        return Completion(callback=self.callback, result=result, error=error)


class ExecutionsApi:
    """Answers requests about executions and callbacks."""

    def __init__(self, context: SourceContext, limit: BodyLimit, functions: ListFunctions) -> None:
        self._context = context
        self._limit = limit
        self._executions: ExecutionAccess = MeshExecutions(context.broker, context.clock, functions)

    def routes(self) -> Sequence[ApiRoute]:
        """The routes, without what guards them."""
        one = f"{EXECUTIONS}/{{execution}}"
        return (
            ("GET", EXECUTIONS, "read", "list executions", self._list),
            ("GET", one, "read", "show the execution", self._show),
            ("GET", f"{one}/history", "read", "show the history of the execution", self._history),
            ("POST", f"{one}/stop", "manage", "stop the execution", self._stop),
            ("POST", f"{one}/pause", "manage", "pause the execution", self._pause),
            ("POST", f"{one}/resume", "manage", "resume the execution", self._resume),
            # The id of a callback is a secret, so it is in the body, and in no log.
            ("POST", CALLBACKS, "invoke", "complete a callback", self._complete),
        )

    async def _list(self, request: Request, _: PathValues, __: str) -> BytesResponse:
        statuses = query_value(request, "status").upper()
        fields = {
            "verb": "list",
            "function": query_value(request, "function"),
            "name": query_value(request, "name"),
            "statuses": statuses.split(",") if statuses else (),
            "started_after": query_value(request, "started_after") or None,
            "started_before": query_value(request, "started_before") or None,
            "newest_first": query_value(request, "oldest_first") != _TRUE,
            **_read_page(request),
        }
        asked = _read(Asked, fields)
        found, after = await self._executions.list(asked.which, asked.page)
        members = Answer(executions=list(found)).model_dump(mode="json")["executions"]
        return json_response(200, {"executions": members, "after": after})

    async def _show(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        return _respond(await self._executions.show(path["execution"], _function(request)))

    async def _history(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        asked = _read(Asked, {"verb": "history", **_read_page(request)})
        events, after = await self._executions.history(
            path["execution"],
            asked.page,
            function=_function(request),
            newest_first=query_value(request, "newest_first") == _TRUE,
        )
        members = Answer(events=list(events)).model_dump(mode="json")["events"]
        return json_response(200, {"events": members, "after": after})

    async def _stop(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        order = await self._read_order(request)
        id, function = path["execution"], _function(request)
        return _respond(await self._executions.stop(id, order.reason, function=function))

    async def _pause(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        order = await self._read_order(request)
        id, function = path["execution"], _function(request)
        paused = await self._executions.pause(
            id, order.reason, hold_timeout=order.hold_timeout, function=function
        )
        return _respond(paused)

    async def _resume(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        order = await self._read_order(request)
        id, function = path["execution"], _function(request)
        return _respond(await self._executions.resume(id, order.reason, function=function))

    async def _complete(self, request: Request, _: PathValues, principal: str) -> BytesResponse:
        """Complete a callback: its id is in the body, and nothing tells whether it was open."""
        body = await read_body(request, self._limit)
        function, message = read_completion(body, self._context.clock.now(), principal)
        await self._context.environment.transport.send(function, message, 0.0)
        return json_response(202, {"id": message.id})

    async def _read_order(self, request: Request) -> _Order:
        body = await read_body(request, self._limit)
        return _read(_Order, body) if body else _Order()


def read_completion(
    given: bytes | dict[str, Any], now: float, principal: str
) -> tuple[str, Message]:
    """Return the function that waits for a callback, and the message that completes it.

    Raises Problem 422 and FunctionNotFound, which quote nothing: the id is a secret.
    """
    completion = _read(_Outcome, given).to_completion()
    try:
        function = read_callback_id(completion.callback).function
    except CallbackNotOpen as error:
        raise FunctionNotFound("the callback", str(error)) from None
    body = completion.model_dump_json(by_alias=True).encode()
    return function, Message(
        body, new_id(), now, trigger=DURABLE, type=COMPLETE, principal=principal
    )


def _respond(report: ExecutionReport) -> BytesResponse:
    return BytesResponse(200, dump_report(report))


def _function(request: Request) -> str:
    return query_value(request, "function")


def _read_page(request: Request) -> dict[str, Any]:
    limit = read_limit(request)
    size = 100 if limit is None else max(min(limit, MAX_LISTED), 1)
    return {"size": size, "after": query_value(request, "after")}


def _read(model: type[_Model], given: bytes | dict[str, Any]) -> _Model:
    """Validate a body or a query. Raises Problem 422, which quotes nothing: it may be a secret."""
    try:
        if isinstance(given, bytes):
            return model.model_validate_json(given)
        return model.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        where = ", ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the body'}: {each['msg']}" for each in found
        )
        raise Problem(422, f"the request cannot be read: {where}") from None
