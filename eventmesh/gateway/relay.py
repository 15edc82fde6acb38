"""Requests that a gateway passes on over the broker, and their responses.

A whole request goes through the RPC queue of its function: the process of the function binds and
answers it as if it had come to its own server. The body of a message is a head of JSON on one line,
followed by the body of the request or of the response as it is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from multidict import CIMultiDict
from pydantic import TypeAdapter

from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.engine.spec import FunctionSpec, Guard, SourceContext
from eventmesh.http.auth.guards import find_guard
from eventmesh.http.endpoint import (
    Responder,
    build_binding,
    build_responder,
    check_declared,
)
from eventmesh.http.protocol import RELAYED_RESPONSE
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import (
    Request,
    check_json,
    parse_query,
    read_content_type,
)
from eventmesh.http.server.response import BytesResponse, problem_response
from eventmesh.http.server.streaming import StreamingResponse
from eventmesh.model.errors import FunctionNotFound, InvocationError, PayloadTooLarge, Problem
from eventmesh.model.invocation import SYNC, HttpRequest, Invocation, RouteTemplate
from eventmesh.model.message import Message
from eventmesh.model.result import Result, is_final_status
from eventmesh.model.value import value

_Head: TypeAlias = dict[str, Any]

_UNREADABLE: Final = (
    *(ValueError, TypeError, LookupError, AttributeError, RecursionError),
    PayloadTooLarge,
)
"""What reading the head of a response that is none may raise."""


@value
class _RequestHead:
    """What comes before the body of a request."""

    route: str
    method: str
    target: str
    path: dict[str, str]
    headers: list[tuple[str, str]]
    remote: str


_HEAD: Final = TypeAdapter(_RequestHead)

_log: Final = logging.getLogger(__name__)


def encode_request(
    request: Request, route: HttpRoute, path: Mapping[str, str], body: bytes
) -> bytes:
    """Encode a request to a route as the body of a message."""
    head = {
        "route": route.template.key,
        "method": request.method,
        "target": request.target,
        "path": dict(path),
        "headers": list(request.headers.items()),
        "remote": request.remote,
    }
    return _join(head, body)


def decode_response(result: Result, invocation_id: str) -> BytesResponse:
    """Decode the response that a result carries.

    Raises Problem 502 where it carries none, or one that would not be one response to its client:
    a line break in a status or a header would begin another one (response splitting).
    """
    if result.content_type != RELAYED_RESPONSE:
        raise Problem(502, "the service has a version that this gateway does not support")
    try:
        head, body = _split(result.body)
        status = head["status"]
        if not is_final_status(status):
            raise ValueError(f"the status {status!r:.40} ends no request")
        headers = {**head["headers"]}
        return BytesResponse(status, body, head["content_type"], headers, invocation_id)
    except _UNREADABLE as error:
        _log.warning("the response to %s cannot be passed on: %s", invocation_id, error)
        raise Problem(502, "the service sent a response that cannot be passed on") from None


class RemoteRoutes:
    """Answers the requests that gateways pass on to the routes of one function."""

    def __init__(self, function: FunctionSpec, context: SourceContext) -> None:
        self._name = function.full_name
        self._limit = function.limits.max_payload
        self._routes: dict[str, tuple[RouteTemplate, bool, Responder, Guard | None]] = {}
        for route in function.triggers:
            if isinstance(route, HttpRoute):
                takes_json = build_binding(function, route).takes_json
                template, answer = route.template, build_responder(function, route, context)
                guard = find_guard(function, route, context)
                self._routes[template.key] = template, takes_json, answer, guard

    async def answer(self, message: Message) -> Result:
        """Answer the request in a message; errors become responses, too."""
        target = ""
        try:
            head, body = _split_request(message.body)
            target = head.target
            response = await self._answer(message, head, body)
        except (InvocationError, Problem) as error:
            response = problem_response(problem_from(error), target, message.id)
        except Exception:  # noqa: BLE001  # as in the server: a fault of ours ends one request
            _log.exception("answering the request %s to %r failed", message.id, target)
            problem = Problem(500, "the server failed")
            response = problem_response(problem, target, message.id)
        fields = {
            "status": response.status,
            "content_type": response.content_type,
            "headers": dict(response.headers),
        }
        return Result(_join(fields, response.body), content_type=RELAYED_RESPONSE)

    async def _answer(self, message: Message, head: _RequestHead, body: bytes) -> BytesResponse:
        if head.route not in self._routes:
            advice = f"its service has another version, without {head.route}"
            raise FunctionNotFound(self._name, advice)
        template, takes_json, answer, guard = self._routes[head.route]
        headers, target = CIMultiDict(head.headers), head.target
        http = HttpRequest(
            template, head.method, target, head.path, parse_query(target), headers, head.remote
        )
        # As at the service's own port: whoever passed the request on, its credentials decide.
        principal = message.principal if guard is None else await guard(http)
        content_type = read_content_type(headers)
        if takes_json:
            check_json(content_type)
        if takes_json and body:
            check_declared(headers)
        if len(body) > self._limit:
            raise PayloadTooLarge(len(body), self._limit, "max_payload")
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
            principal=principal,
            http=http,
        )
        return await self._collect(await answer(invocation))

    async def _collect(self, response: BytesResponse | StreamingResponse) -> BytesResponse:
        """Collect a stream: the response is one message. Raises Problem 500 if it is too large."""
        try:
            if isinstance(response, StreamingResponse):
                response = await response.collect(self._limit)
            if len(response.body) > self._limit:
                raise PayloadTooLarge(len(response.body), self._limit)
        except PayloadTooLarge as error:
            detail = f"the response is too large for a gateway: it may have {error.limit:,} bytes"
            raise Problem(500, detail) from error
        return response


def _join(head: _Head, body: bytes) -> bytes:
    # Not by orjson, which does not take what a header may have: bytes that are not UTF-8.
    return json.dumps(head).encode() + b"\n" + body


def _split_request(body: bytes) -> tuple[_RequestHead, bytes]:
    """Return the head and the body of a request. Raises Problem 400 if they are none.

    Any process that may call the function can send it, not only a gateway.
    """
    try:
        head, rest = _split(body)
        return _HEAD.validate_python(head), rest
    except _UNREADABLE as error:  # ValidationError is a ValueError.
        _log.warning("a relayed request is none: %s", error)
        raise Problem(400, "this is no request that a gateway passes on") from None


def _split(body: bytes) -> tuple[_Head, bytes]:
    """Split a message. Raises ValueError, PayloadTooLarge or RecursionError for a bad head."""
    head, _, rest = body.partition(b"\n")
    check_nodes(head)
    return json.loads(head), rest
