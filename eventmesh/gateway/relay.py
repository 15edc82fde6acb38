"""Requests that a gateway passes on over the broker, and their answers.

A request travels in the line of its function's synchronous callers, all of it: the handler's
process binds and answers it as if it had come to its own server. The body of a message is a head
of JSON on one line, and after that the body of the request or of the answer as it is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from multidict import CIMultiDict

from eventmesh.engine.binding import HttpBinding
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.endpoint import Responder, build_binding, build_responder, check_content_type
from eventmesh.http.protocol import ANSWER
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import Request, parse_query, read_content_type
from eventmesh.http.server.response import BytesResponse, problem_response
from eventmesh.http.server.streaming import StreamingResponse
from eventmesh.model.errors import FunctionNotFound, InvocationError, PayloadTooLarge, Problem
from eventmesh.model.invocation import SYNC, HttpRequest, Invocation, RouteTemplate
from eventmesh.model.message import Message
from eventmesh.model.result import Result

_Head: TypeAlias = dict[str, Any]

_log: Final = logging.getLogger(__name__)


def request_body(request: Request, route: HttpRoute, path: Mapping[str, str], body: bytes) -> bytes:
    """The body of the message that carries a request to a route."""
    head = {
        "route": route.template.key,
        "method": request.method,
        "target": request.target,
        "path": dict(path),
        "headers": list(request.headers.items()),
        "remote": request.remote,
    }
    return _join(head, body)


def response_from(result: Result, invocation_id: str) -> BytesResponse:
    """The answer that a result carries. Raises Problem 502 for a result that is none."""
    if result.content_type != ANSWER:
        raise Problem(502, "the service is of a version that this gateway does not understand")
    head, body = _split(result.body)
    return BytesResponse(head["status"], body, head["content_type"], head["headers"], invocation_id)


class RemoteRoutes:
    """Answers the requests that gateways pass on to the routes of one function."""

    def __init__(self, function: FunctionSpec, runtime: SourceContext) -> None:
        self._name = function.full_name
        self._limit = function.limits.max_payload
        self._routes: dict[str, tuple[RouteTemplate, HttpBinding, Responder]] = {}
        for route in function.triggers:
            if isinstance(route, HttpRoute):
                plan = build_binding(function, route)
                template, answer = route.template, build_responder(function, route, runtime)
                self._routes[template.key] = template, plan, answer

    async def answer(self, message: Message) -> Result:
        """Answer the request in a message, whatever happens."""
        head, body = _split(message.body)
        try:
            reply = await self._answer(message, head, body)
        except (InvocationError, Problem) as error:
            reply = problem_response(problem_from(error), head["target"], message.id)
        except Exception:  # noqa: BLE001  # as in the server: a fault of ours ends one request
            _log.exception("answering %s %s failed", head["method"], head["target"])
            problem = Problem(500, "the server failed")
            reply = problem_response(problem, head["target"], message.id)
        told = {
            "status": reply.status,
            "content_type": reply.content_type,
            "headers": dict(reply.headers),
        }
        return Result(_join(told, reply.body), content_type=ANSWER)

    async def _answer(self, message: Message, head: _Head, body: bytes) -> BytesResponse:
        if head["route"] not in self._routes:
            advice = f"its service has another version, without {head['route']}"
            raise FunctionNotFound(self._name, advice)
        template, plan, answer = self._routes[head["route"]]
        headers = CIMultiDict(head["headers"])
        content_type = read_content_type(headers)
        check_content_type(plan, content_type)
        if len(body) > self._limit:
            raise PayloadTooLarge(len(body), self._limit, "max_payload")
        target = head["target"]
        invocation = Invocation(
            function=self._name,
            id=message.id,
            payload=body,
            created=message.timestamp,
            mode=SYNC,
            content_type=content_type,
            headers=message.headers,
            trigger="http",
            deadline=message.deadline,
            caller=message.caller,
            principal=message.principal,
            http=HttpRequest(
                template,
                head["method"],
                target,
                head["path"],
                parse_query(target),
                headers,
                head["remote"],
            ),
        )
        return await self._in_one_piece(await answer(invocation))

    async def _in_one_piece(self, reply: BytesResponse | StreamingResponse) -> BytesResponse:
        try:
            whole = (
                await reply.collect(self._limit) if isinstance(reply, StreamingResponse) else reply
            )
            if len(whole.body) > self._limit:
                raise PayloadTooLarge(len(whole.body), self._limit)
        except PayloadTooLarge as error:
            told = f"the answer is too large for a gateway: it may have {error.limit:,} bytes"
            raise Problem(500, told) from error
        return whole


def _join(head: _Head, body: bytes) -> bytes:
    # Not by orjson, which does not take what a header may have: bytes that are not UTF-8.
    return json.dumps(head).encode() + b"\n" + body


def _split(body: bytes) -> tuple[_Head, bytes]:
    head, _, rest = body.partition(b"\n")
    return json.loads(head), rest
