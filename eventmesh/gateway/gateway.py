"""One door for the HTTP routes of all services of a mesh."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from eventmesh.aio.tasks import task_group
from eventmesh.engine.spec import SourceContext
from eventmesh.gateway.relay import request_body, response_from
from eventmesh.http.api.aws_lambda.invoke import MAX_WAIT
from eventmesh.http.openapi.merge import merge_documents
from eventmesh.http.protocol import REQUEST
from eventmesh.http.route import HttpRoute
from eventmesh.http.routes import add_builtin_routes, build_apis
from eventmesh.http.server.problems import RETRY_AFTER, problem_from, retryable_problem
from eventmesh.http.server.request import Request, body_limit, read_body, read_trace_headers
from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.routing import BuiltinRoute, Endpoint, PathValues, Router
from eventmesh.http.server.server import HttpServer, listen
from eventmesh.model.errors import DeclarationError, FunctionNotFound, Problem
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.result import Failure
from eventmesh.model.value import value

PENDING_SECONDS: Final = 30.0
"""How long a request may wait for its turn, beyond the timeout of its function."""

_log: Final = logging.getLogger(__name__)


@value
class RemoteRoute:
    """A route, and the function of another process that answers it.

    `timeout` is that function's, in seconds, None for none.
    """

    route: HttpRoute
    function: str
    timeout: float | None


@value
class Catalogue:
    """What a mesh serves.

    Of two routes at one place the first counts. `functions` are described, by their names;
    `documents` are the OpenAPI documents of services, of which the first counts as well.
    """

    routes: Sequence[RemoteRoute]
    functions: Mapping[str, Mapping[str, Any]]
    documents: Sequence[Mapping[str, Any]]


class Gateway:
    """Passes requests on to the functions of other processes.

    Until it is told that its catalogue is complete, everybody is told to come again: 404 would be
    said of what may be there.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._complete = False
        self._on_change: Callable[[], None] = lambda: None
        self._warned: set[str] = set()

    def show(self, catalogue: Catalogue) -> None:
        """Serve this from now on."""
        self._catalogue = catalogue
        self._on_change()

    def complete(self) -> None:
        """From now on, what is not in the catalogue is not there."""
        self._complete = True
        self._on_change()

    @asynccontextmanager
    async def serve(self, runtime: SourceContext) -> AsyncGenerator[None]:
        """Serve the catalogue as `serve_functions` serves the functions of a host."""
        async with task_group() as tasks:
            apis = build_apis(runtime, tasks, lambda: self._catalogue.functions)
            server = HttpServer(self._router(apis, runtime), runtime.clock, runtime.settings)

            def change() -> None:
                server.router = self._router(apis, runtime)

            self._on_change = change
            async with listen(server, runtime.settings) as url:
                runtime.announce("http", url)
                yield

    def _router(
        self, apis: Sequence[BuiltinRoute], runtime: SourceContext
    ) -> Router[Endpoint] | None:
        if not self._complete:
            return None
        router: Router[Endpoint] = Router()
        for remote in self._catalogue.routes:
            route = remote.route
            try:
                router.add(
                    route.method, route.path, build_relay_endpoint(remote, runtime), remote.function
                )
            except DeclarationError as error:
                self._warn(str(error))
        add_builtin_routes(
            router, apis, runtime, partial(merge_documents, self._catalogue.documents)
        )
        return router

    def _warn(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            _log.warning(
                "%s; until then, only the first one is reached through this gateway", problem
            )


def build_relay_endpoint(remote: RemoteRoute, runtime: SourceContext) -> Endpoint:
    """What passes requests to a route on to its function, and its answers back."""
    now, limit = runtime.clock.now, body_limit(runtime.settings)
    request_over_broker = runtime.environment.transport.request
    wait = (MAX_WAIT if remote.timeout is None else remote.timeout) + PENDING_SECONDS

    async def endpoint(request: Request, path: PathValues) -> BytesResponse:
        body = await read_body(request, limit) if remote.route.has_body else b""
        moment = now()
        message = Message(
            request_body(request, remote.route, path, body),
            new_id(),
            moment,
            headers=read_trace_headers(request.headers),
            trigger="http",
            deadline=moment + wait,
            type=REQUEST,
        )
        result = await request_over_broker(remote.function, message)
        if result.error is not None:
            raise _problem(result.error)
        return response_from(result, message.id)

    return endpoint


def _problem(error: Failure) -> Problem:
    if isinstance(error, FunctionNotFound):
        # It was there a moment ago: somebody announced it.
        return retryable_problem(503, "the service is not there now", RETRY_AFTER)
    return problem_from(error)
