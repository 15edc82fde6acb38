"""One route of a function: from a request to its invocation, and from the result to an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

from aiohttp import hdrs

from eventmesh.engine.binding import HttpBinding
from eventmesh.engine.codecs.envelope import message_from
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.protocol import CONTROL
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import (
    Request,
    body_limit,
    check_json,
    parse_query,
    read_body,
    read_content_type,
    read_trace_headers,
)
from eventmesh.http.server.response import BytesResponse, json_response, problem_response
from eventmesh.http.server.routing import Endpoint, PathValues
from eventmesh.http.server.streaming import StreamingResponse, stream_response
from eventmesh.model.errors import InvocationError
from eventmesh.model.ids import new_id
from eventmesh.model.invocation import ASYNC, SYNC, HttpRequest, Invocation, make_invocation

Responder: TypeAlias = Callable[[Invocation], Awaitable[BytesResponse | StreamingResponse]]
"""Answers the invocations that requests to one route have become."""


def build_endpoint(function: FunctionSpec, route: HttpRoute, runtime: SourceContext) -> Endpoint:
    """What answers requests to a route of a function."""
    plan = build_binding(function, route)
    take = _intake(function, route, plan, runtime)
    answer = build_responder(function, route, runtime)

    async def endpoint(request: Request, path: PathValues) -> BytesResponse | StreamingResponse:
        return await answer(await take(request, path))

    return endpoint


def build_binding(function: FunctionSpec, route: HttpRoute) -> HttpBinding:
    """What fills the function's parameters on that route."""
    return function.schema.http_binding(route.template)


def build_responder(function: FunctionSpec, route: HttpRoute, runtime: SourceContext) -> Responder:
    """What runs, or stores, the invocations of a route, and says how they are answered."""
    if route.mode == ASYNC:
        return _storing(function, route, runtime)
    return _running(function, route, runtime)


def status_path(function: str, invocation_id: str) -> str:
    """Where the control API tells what became of an asynchronous invocation."""
    return f"{CONTROL}/functions/{function}/invocations/{invocation_id}"


_Intake: TypeAlias = Callable[[Request, PathValues], Awaitable[Invocation]]


def _intake(
    function: FunctionSpec, route: HttpRoute, plan: HttpBinding, runtime: SourceContext
) -> _Intake:
    """What makes invocations of requests."""
    name = function.full_name
    template = route.template
    has_body = plan.body is not None
    limit = body_limit(runtime.settings, function.limits.max_payload)
    now = runtime.clock.now

    async def take(request: Request, path: PathValues) -> Invocation:
        body, content_type = b"", read_content_type(request.headers)
        if has_body:
            check_content_type(plan, content_type)
            body = await read_body(request, limit)
        return make_invocation(
            function=name,
            id=new_id(),
            payload=body,
            created=now(),
            mode=SYNC,
            content_type=content_type,
            headers=read_trace_headers(request.headers),
            trigger="http",
            http=HttpRequest(
                template,
                request.method,
                request.target,
                path,
                parse_query(request.target),
                request.headers,
                request.remote,
            ),
        )

    return take


def check_content_type(plan: HttpBinding, content_type: str) -> None:
    """Raises Problem 415 for a body of a type that the route does not take."""
    if plan.body is not None and not plan.body.raw:
        check_json(content_type)


def _running(function: FunctionSpec, route: HttpRoute, runtime: SourceContext) -> Responder:
    run = runtime.dispatch
    stream_of_bytes = function.schema.item_type is bytes

    async def answer(invocation: Invocation) -> BytesResponse | StreamingResponse:
        result = await run(invocation)
        request = cast(HttpRequest, invocation.http)
        if result.error is not None:
            return problem_response(problem_from(result.error), request.target, invocation.id)
        if result.stream is not None:
            accept = request.headers.get(hdrs.ACCEPT, "")
            return stream_response(
                result.stream, route.status, accept, invocation.id, plain=stream_of_bytes
            )
        return BytesResponse(
            # A Response says its status; of other values the route does.
            result.status or route.status,
            result.body,
            result.content_type,
            result.headers,
            invocation.id,
        )

    return answer


def _storing(function: FunctionSpec, route: HttpRoute, runtime: SourceContext) -> Responder:
    name = function.full_name
    make_payload = function.schema.build_async_payload(route.template)
    send = runtime.environment.transport.send
    api = runtime.settings.api

    async def accept(invocation: Invocation) -> BytesResponse:
        try:
            # What does not fit is refused now: once it is stored, its sender is gone.
            await send(name, message_from(invocation, make_payload(invocation)), 0.0)
        except InvocationError as error:
            request = cast(HttpRequest, invocation.http)
            return problem_response(problem_from(error), request.target, invocation.id)
        accepted = {"id": invocation.id, "function": name}
        if not api:
            return json_response(202, accepted, invocation_id=invocation.id)
        where = status_path(name, invocation.id)
        return json_response(
            202, accepted | {"status_url": where}, {hdrs.LOCATION: where}, invocation.id
        )

    return accept
