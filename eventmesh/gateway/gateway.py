"""Serves the HTTP routes of all services of a mesh at one address."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from eventmesh.aio.clock import Clock, sleep
from eventmesh.aio.tasks import background_task, task_group
from eventmesh.engine.spec import SourceContext
from eventmesh.gateway.absent import AbsentRoutes
from eventmesh.gateway.catalogue import Catalogue, RemoteRoute
from eventmesh.gateway.relay import decode_response, encode_request
from eventmesh.http.api.aws_lambda.invoke import MAX_WAIT
from eventmesh.http.limits.limits import build_limits
from eventmesh.http.openapi.merge import merge_documents
from eventmesh.http.protocol import RELAYED_REQUEST
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
from eventmesh.model.errors import DeclarationError, FunctionNotFound, Problem
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.result import Failure

PENDING_SECONDS: Final = 30.0
"""Seconds that a request may wait to be run, beyond the timeout of its function."""

FORGET_SECONDS: Final = 30.0
"""How often it forgets the routes that have been absent for long."""

MAX_WARNINGS: Final = 100

_log: Final = logging.getLogger(__name__)


class Gateway:
    """Passes requests on to the functions of other processes.

    Until its catalogue is complete, all clients are told to retry later: a 404 might be wrong. So
    are for a while those that ask for a route of a service whose last process has ended.
    """

    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        self._catalogue = catalogue
        self._absent = AbsentRoutes(clock)
        self._complete = False
        self._on_change: Callable[[], None] = lambda: None
        self._warned: set[str] = set()

    def show(self, catalogue: Catalogue) -> None:
        """Replace the catalogue."""
        self._absent.update(self._catalogue.routes, catalogue.routes, catalogue.services)
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
            async with (
                background_task(self._forget(context.clock)),
                listen(server, context.settings) as url,
            ):
                context.announce("http", url)
                yield

    async def _forget(self, clock: Clock) -> None:
        while True:
            await sleep(clock, FORGET_SECONDS)
            if self._absent.forget():
                self._on_change()

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
        for remote in self._absent.routes:
            with suppress(DeclarationError):  # Another service serves it now.
                add_route(router, remote.route, _answer_absent, remote.function, remote.cors)
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
        return _absent()
    return problem_from(error)


async def _answer_absent(_request: Request, _path: PathValues) -> BytesResponse:
    raise _absent()


def _absent() -> Problem:
    return retryable_problem(503, "no process serves this route now", UNAVAILABLE_RETRY_SECONDS)
