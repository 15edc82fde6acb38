"""Serves the HTTP routes of all services of a mesh at one address."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from eventmesh.aio.tasks import task_group
from eventmesh.engine.spec import SourceContext
from eventmesh.gateway.relay import decode_response, encode_request
from eventmesh.http.api.aws_lambda.invoke import MAX_WAIT
from eventmesh.http.limits.limits import build_limits
from eventmesh.http.openapi.merge import merge_documents
from eventmesh.http.protocol import RELAYED_REQUEST
from eventmesh.http.route import HttpRoute
from eventmesh.http.routes import add_builtin_routes, add_route, build_apis, listen_for_apis
from eventmesh.http.server.body import body_limit, read_body
from eventmesh.http.server.problems import (
    UNAVAILABLE_RETRY_SECONDS,
    problem_from,
    retryable_problem,
)
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.routing import BuiltinRoute, Endpoint, PathValues, Router
from eventmesh.http.server.server import HttpServer, listen
from eventmesh.model.access.cors import Cors
from eventmesh.model.errors import DeclarationError, FunctionNotFound, Problem
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.result import Failure
from eventmesh.model.value import value

PENDING_SECONDS: Final = 30.0
"""Seconds that a request may wait to be run, beyond the timeout of its function."""

MAX_WARNINGS: Final = 100

_log: Final = logging.getLogger(__name__)


@value
class RemoteRoute:
    """A route, and the function of another process that answers it.

    `timeout` is that function's, in seconds, None for none. `cors` is its service's: the gateway
    itself answers the preflight requests of browsers.
    """

    route: HttpRoute
    function: str
    timeout: float | None
    cors: Cors | None = None


@value
class Catalogue:
    """What a mesh serves.

    Of two routes with one path and method the first counts. `functions` are by their names, each as
    `function_info`; `documents` are the OpenAPI documents of services, the first of which counts,
    too.
    """

    routes: Sequence[RemoteRoute]
    functions: Mapping[str, Mapping[str, Any]]
    documents: Sequence[Mapping[str, Any]]


class Gateway:
    """Passes requests on to the functions of other processes.

    Until its catalogue is complete, all clients are told to retry later: a 404 might be wrong.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._complete = False
        self._on_change: Callable[[], None] = lambda: None
        self._warned: set[str] = set()

    def show(self, catalogue: Catalogue) -> None:
        """Replace the catalogue."""
        self._catalogue = catalogue
        self._on_change()

    def mark_complete(self) -> None:
        """Answer with 404, from now on, where the catalogue has no route."""
        self._complete = True
        self._on_change()

    @asynccontextmanager
    async def serve(self, context: SourceContext) -> AsyncGenerator[None]:
        """Serve the catalogue as `serve_functions` serves the functions of a host."""
        limits = build_limits(context.settings, context.clock, context.gauge)
        async with (
            task_group() as tasks,
            listen_for_apis(
                context, build_apis(context, tasks, lambda: self._catalogue.functions), limits
            ) as apis,
        ):
            server = HttpServer(
                self._router(apis, context), context.clock, context.settings, limits
            )

            def change() -> None:
                server.router = self._router(apis, context)

            self._on_change = change
            async with listen(server, context.settings) as url:
                context.announce("http", url)
                yield

    def _router(
        self, apis: Sequence[BuiltinRoute], context: SourceContext
    ) -> Router[Endpoint] | None:
        if not self._complete:
            return None
        router: Router[Endpoint] = Router()
        for remote in self._catalogue.routes:
            route = remote.route
            try:
                endpoint = build_relay_endpoint(remote, context)
                add_route(router, route, endpoint, remote.function, remote.cors)
            except DeclarationError as error:
                self._warn(str(error))
        add_builtin_routes(
            router, apis, context, partial(merge_documents, self._catalogue.documents)
        )
        return router

    def _warn(self, problem: str) -> None:
        # What other processes announce may differ each time.
        if problem not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(problem)
            _log.warning("%s; until then, this gateway reaches only the first one", problem)


def build_relay_endpoint(remote: RemoteRoute, context: SourceContext) -> Endpoint:
    """Build what passes requests to a route on to its function, and the responses back."""
    clock, limit = context.clock, body_limit(context.settings)
    request_over_broker = context.environment.transport.request
    wait = (MAX_WAIT if remote.timeout is None else remote.timeout) + PENDING_SECONDS

    async def endpoint(request: Request, path: PathValues) -> BytesResponse:
        body = await read_body(request, limit) if remote.route.has_body else b""
        message = Message(
            encode_request(request, remote.route, path, body),
            new_id(),
            clock.now(),
            headers=request.read_trace_headers(),
            trigger="http",
            deadline=clock.monotonic() + wait,
            type=RELAYED_REQUEST,
        )
        result = await request_over_broker(remote.function, message)
        if result.error is not None:
            raise _problem_from(result.error)
        return decode_response(result, message.id)

    return endpoint


def _problem_from(error: Failure) -> Problem:
    if isinstance(error, FunctionNotFound):
        # It was announced a moment ago.
        return retryable_problem(503, "no process serves this route now", UNAVAILABLE_RETRY_SECONDS)
    return problem_from(error)
