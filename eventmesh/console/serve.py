"""Serves the console: on a listener of its own, or beside the routes of a process."""

from __future__ import annotations

import os
from asyncio import TaskGroup
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from eventmesh.aio.clock import Clock
from eventmesh.aio.tasks import task_group
from eventmesh.console.api.login import Login, build_login
from eventmesh.console.api.page import ROOT
from eventmesh.console.api.routes import ConsoleOptions, console_routes
from eventmesh.console.sources import ProcessSource, Source
from eventmesh.console.state.mesh_state import ReadCollection
from eventmesh.engine.spec import SourceContext
from eventmesh.http.auth.build import serves_api_beside
from eventmesh.http.limits.limits import build_limits
from eventmesh.http.server.problems import retryable_problem
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.routing import (
    NO_VALUES,
    BuiltinRoute,
    Endpoint,
    PathValues,
    Router,
)
from eventmesh.http.server.server import HttpServer, listen
from eventmesh.model.access.addresses import is_loopback
from eventmesh.model.errors import SettingsError
from eventmesh.model.runs import Question, Sight
from eventmesh.model.settings import Settings, variable
from eventmesh.presence import Instance

_OWNER = "the console"


@asynccontextmanager
async def serve_console(
    source: Source, settings: Settings, options: ConsoleOptions
) -> AsyncGenerator[str]:
    """Serve the console at the HTTP address of the settings, while entered; yield its URL.

    Raises SettingsError for an address that others reach where nobody is authenticated, and where
    it cannot be listened on.
    """
    async with (
        task_group() as tasks,
        console_routes(
            source, settings, options, tasks, _build_login(settings, source.clock, tasks)
        ) as (routes, state),
    ):
        router: Router[Endpoint] = Router()
        for route in (*routes, BuiltinRoute("GET", "/", _redirect)):
            router.add(route.method, route.path, route.endpoint, _OWNER)
        limits = build_limits(settings, source.clock)
        async with listen(HttpServer(router, source.clock, settings, limits), settings) as url:
            try:
                yield f"{url}{ROOT}/"
            finally:
                state.close()  # Before the listener waits for its streams to end.


def _build_login(settings: Settings, clock: Clock, tasks: TaskGroup) -> Login | None:
    """Build what people log in by. Raises SettingsError where strangers would be let in."""
    login = build_login(settings, clock, tasks)
    if login is None and not is_loopback(settings.http_host) and not settings.authenticates:
        raise SettingsError(
            f"the console at {settings.http_host} would let everybody who reaches it read and "
            f"change what the mesh does: say who may with {variable('auth_file')}, "
            f"{variable('jwt_issuer')} or {variable('console_oidc_issuer')}, or listen at 127.0.0.1"
        )
    return login


@asynccontextmanager
async def serve_in_place(
    source: Source, settings: Settings, options: ConsoleOptions
) -> AsyncGenerator[None]:
    """Serve the console where services would answer that do not run, while entered.

    All that is not the console is answered with 503, which does not say why: strangers may ask.
    Without the console if the APIs are not served there. Leaving waits for what is being answered.
    Raises SettingsError where the address cannot be listened on, or nobody says who may look.
    """
    async with AsyncExitStack() as stack:
        router = _StandInRouter()
        close: Callable[[], object] = _do_nothing
        if serves_api_beside(settings):
            tasks = await stack.enter_async_context(task_group())
            routes, state = await stack.enter_async_context(
                console_routes(source, settings, options, tasks)
            )
            close = state.close
            for route in routes:
                router.add(route.method, route.path, route.endpoint, _OWNER)
        # No connection is kept for the process that follows: its clients connect to that.
        server = HttpServer(router, source.clock, replace(settings, http_fd=None))
        # The socket stays open for the process that follows: what is closed is a copy.
        descriptor = None if settings.http_fd is None else os.dup(settings.http_fd)
        async with listen(server, replace(settings, http_fd=descriptor)):
            try:
                yield
            finally:
                close()


class _StandInRouter(Router[Endpoint]):
    """Has an endpoint for every path: where there is no route, the one that refuses."""

    def find(self, method: str, path: str) -> tuple[Endpoint, PathValues]:
        return super().find(method, path) or (_refuse, NO_VALUES)


async def _refuse(_: Request, __: PathValues) -> BytesResponse:
    raise retryable_problem(503, "the services do not run: the log and the console say why", 1.0)


def _do_nothing() -> None:
    """Close nothing."""


async def _redirect(_: Request, __: PathValues) -> BytesResponse:
    return BytesResponse(302, headers={"Location": f"{ROOT}/"})


@asynccontextmanager
async def console_beside(
    context: SourceContext,
    describe: Callable[[], Instance],
    look: Callable[[Question], Sight],
    more: Mapping[str, ReadCollection],
) -> AsyncGenerator[Sequence[BuiltinRoute]]:
    """Yield the routes of the console of one process, for the listener of its own routes.

    `describe` and `look` tell of the process, once it runs; `more` are collections that only such
    a console has. None where the APIs are not served there.
    """
    if not serves_api_beside(context.settings):
        yield ()
        return
    source = ProcessSource(context, describe, look)
    options = ConsoleOptions("dev", more=more)
    async with (
        task_group() as tasks,
        console_routes(source, context.settings, options, tasks) as (routes, state),
    ):

        async def stop() -> None:
            state.close()

        context.on_stop(stop)
        yield routes
