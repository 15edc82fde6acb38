"""The HTTP server as a part of a host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from eventmesh.aio.clock import Clock
from eventmesh.engine.spec import FunctionSpec, Guard, GuardKey, SourceContext
from eventmesh.http.route import HttpRoute

if TYPE_CHECKING:
    from eventmesh.http.server.routing import BuiltinRoute

HttpSource: TypeAlias = Callable[[SourceContext], AbstractAsyncContextManager[None]]
"""Serves HTTP while entered, and announces the address as "http"."""

RoutesBeside: TypeAlias = Callable[
    [SourceContext], AbstractAsyncContextManager["Sequence[BuiltinRoute]"]
]
"""Opens routes that belong to no function, while entered."""


@asynccontextmanager
async def no_routes(_: SourceContext) -> AsyncGenerator[Sequence[BuiltinRoute]]:
    """Yield no routes."""
    yield ()


@asynccontextmanager
async def open_authorizers(
    functions: Sequence[FunctionSpec], clock: Clock
) -> AsyncGenerator[Mapping[GuardKey, Guard]]:
    """Open what verifies the callers of these functions' routes, while entered.

    Raises SettingsError and DeclarationError for an authorizer that cannot be used.
    """
    if not any(_has_authorizer(function) for function in functions):
        yield {}
        return
    from eventmesh.http.auth.guards import open_guards  # noqa: PLC0415  # it loads the server

    async with open_guards(functions, clock) as guards:
        yield guards


def _has_authorizer(function: FunctionSpec) -> bool:
    routes = [trigger for trigger in function.triggers if isinstance(trigger, HttpRoute)]
    return any(function.auth is not None or route.auth is not None for route in routes)


@asynccontextmanager
async def serve_functions(
    context: SourceContext,
    *,
    landing_links: Callable[[], Mapping[str, str]] | None = None,
    beside: RoutesBeside | None = None,
) -> AsyncGenerator[None]:
    """Serve the routes of the host's functions, the APIs and the docs while entered.

    Without any route there are still the APIs and the docs, unless the settings switch them off.
    With `landing_links`, which gives URLs by what is there, `/` is a page for developers that lists
    the functions and those links, where no function has that route and the docs are on.
    `beside` opens more routes, where no function has the same.
    Leaving takes no more requests and waits for those that run. Raises SettingsError where the
    address of the settings cannot be listened on, and DeclarationError where two functions declare
    the same route.
    """
    # Only a process that listens pays for loading an HTTP server.
    from eventmesh.aio.tasks import task_group  # noqa: PLC0415
    from eventmesh.http.limits.limits import build_limits  # noqa: PLC0415
    from eventmesh.http.routes import (  # noqa: PLC0415
        OWNER,
        build_apis,
        build_router,
        listen_for_apis,
    )
    from eventmesh.http.server.server import HttpServer, listen  # noqa: PLC0415

    limits = build_limits(context.settings, context.clock, context.gauge)
    async with (
        task_group() as tasks,
        listen_for_apis(context, build_apis(context, tasks), limits) as apis,
        (no_routes if beside is None else beside)(context) as more,
    ):
        router = build_router(context, apis, landing_links)
        for route in more:
            router.add_missing(route.method, route.path, route.endpoint, OWNER)
        server = HttpServer(router, context.clock, context.settings, limits)
        async with listen(server, context.settings) as url:
            context.announce("http", url)
            yield
