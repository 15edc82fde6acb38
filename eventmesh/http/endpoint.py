"""One route of a function: from a request to its invocation, and from the result to a response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, cast

from aiohttp import hdrs

from eventmesh.engine.binding import HttpBinding
from eventmesh.engine.codecs.envelope import message_from
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.auth.build import serves_api_beside
from eventmesh.http.auth.guards import find_guard
from eventmesh.http.protocol import CONTROL
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.body import body_limit, read_body
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import (
    Request,
    check_json,
    parse_query,
    read_content_type,
)
from eventmesh.http.server.response import BytesResponse, json_response, problem_response
from eventmesh.http.server.routing import Endpoint, PathValues
from eventmesh.http.server.streaming import (
    StreamingResponse,
    raw_stream_response,
    stream_response,
)
from eventmesh.model.errors import InvocationError, Problem
from eventmesh.model.ids import new_id
from eventmesh.model.invocation import (
    ASYNC,
    SYNC,
    HttpRequest,
    Invocation,
    make_http_request,
    make_invocation,
)
from eventmesh.model.message import JSON

Responder: TypeAlias = Callable[[Invocation], Awaitable[BytesResponse | StreamingResponse]]
"""Answers the invocations that were made of requests to one route."""


def build_endpoint(function: FunctionSpec, route: HttpRoute, context: SourceContext) -> Endpoint:
    """Build the endpoint of a route of a function."""
    name, template = function.full_name, route.template
    binding = build_binding(function, route)
    has_body, takes_json = binding.body is not None, binding.takes_json
    limits = function.limits
    limit = body_limit(
        context.settings, limits.max_payload, limits.max_nodes if takes_json else None
    )
    now = context.clock.now
    guard = find_guard(function, route, context)
    respond = build_responder(function, route, context)

    async def endpoint(request: Request, path: PathValues) -> BytesResponse | StreamingResponse:
        headers = request.headers
        http = make_http_request(
            route=template,
            method=request.method,
            target=request.target,
            path=path,
            query=parse_query(request.target),
            headers=headers,
            remote=request.remote,
        )
        # Before the body: who may not send one is not read.
        principal = "" if guard is None else await guard(http)
        body, content_type = b"", read_content_type(headers)
        if has_body:
            if takes_json:
                check_json(content_type)
            body = await read_body(request, limit)
            if takes_json and body:
                check_declared(headers)
        invocation = make_invocation(
            function=name,
            id=new_id(),
            payload=body,
            created=now(),
            mode=SYNC,  # Also on an async route: `message_from` keeps no mode.
            content_type=content_type,
            headers=request.read_trace_headers(),
            trigger="http",
            http=http,
            principal=principal,
        )
        return await respond(invocation)

    return endpoint


def build_binding(function: FunctionSpec, route: HttpRoute) -> HttpBinding:
    """Build what fills the function's parameters on that route."""
    return function.schema.http_binding(route.template)


def build_responder(function: FunctionSpec, route: HttpRoute, context: SourceContext) -> Responder:
    """Build what runs, or stores, the invocations of a route, and answers them."""
    if route.mode == ASYNC:
        return _build_async_responder(function, route, context)
    return _build_sync_responder(function, route, context)


def status_path(function: str, invocation_id: str) -> str:
    """The path at which the control API shows the outcome of an asynchronous invocation."""
    return f"{CONTROL}/functions/{function}/invocations/{invocation_id}"


def check_declared(headers: Mapping[str, str]) -> None:
    """Raise Problem 415 for a body without a content type, where the route takes JSON.

    Browsers let pages of other sites send such a body without asking first (a Blob without a type;
    https://fetch.spec.whatwg.org/#cors-safelisted-request-header), but not JSON.
    """
    if hdrs.CONTENT_TYPE not in headers:
        raise Problem(
            415,
            f"the body has no type: send it with the header Content-Type: {JSON}",
            headers={"Accept": JSON},
        )


def _build_sync_responder(
    function: FunctionSpec, route: HttpRoute, context: SourceContext
) -> Responder:
    dispatch = context.dispatch
    stream_of_bytes = function.schema.item_type is bytes
    declares_stream = function.schema.is_stream

    async def answer(invocation: Invocation) -> BytesResponse | StreamingResponse:
        result = await dispatch(invocation)
        request = cast(HttpRequest, invocation.http)
        if result.error is not None:
            return problem_response(problem_from(result.error), request.target, invocation.id)
        if result.stream is not None and not declares_stream:
            return await raw_stream_response(result, result.stream, route.status, invocation.id)
        if result.stream is not None:
            accept = request.headers.get(hdrs.ACCEPT, "")
            return stream_response(
                result.stream, route.status, accept, invocation.id, plain=stream_of_bytes
            )
        return BytesResponse(
            # A Response has a status of its own; for other values the route has it.
            result.status or route.status,
            result.body,
            result.content_type,
            result.headers,
            invocation.id,
        )

    return answer


def _build_async_responder(
    function: FunctionSpec, route: HttpRoute, context: SourceContext
) -> Responder:
    name = function.full_name
    make_payload = function.schema.build_async_payload(route.template)
    send = context.environment.transport.send
    api = serves_api_beside(context.settings)
    results = context.results.get(name)

    async def accept(invocation: Invocation) -> BytesResponse:
        try:
            # Checked now: once it is stored, its sender is gone.
            await send(name, message_from(invocation, make_payload(invocation)), 0.0)
        except InvocationError as error:
            request = cast(HttpRequest, invocation.http)
            return problem_response(problem_from(error), request.target, invocation.id)
        if results is not None:
            await results.note(name, invocation.id, "waiting", 0, invocation.created)
        accepted = {"id": invocation.id, "function": name}
        if not api:
            return json_response(202, accepted, invocation_id=invocation.id)
        location = status_path(name, invocation.id)
        return json_response(
            202, accepted | {"status_url": location}, {hdrs.LOCATION: location}, invocation.id
        )

    return accept
