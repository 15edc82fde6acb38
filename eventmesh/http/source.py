"""The HTTP server as a part of a host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from eventmesh.engine.spec import SourceContext

HttpSource: TypeAlias = Callable[[SourceContext], AbstractAsyncContextManager[None]]
"""Serves HTTP while entered, and announces the address as "http"."""


@asynccontextmanager
async def serve_functions(context: SourceContext) -> AsyncGenerator[None]:
    """Serve the routes of the host's functions, the APIs and the docs while entered.

    Without any route there are still the APIs and the docs, unless the settings switch them off.
    Leaving takes no more requests and waits for those that run. Raises SettingsError where the
    address of the settings cannot be listened on, and DeclarationError where two functions declare
    the same route.
    """
    # Only a process that listens pays for loading an HTTP server.
    from eventmesh.aio.tasks import task_group  # noqa: PLC0415
    from eventmesh.http.routes import build_router  # noqa: PLC0415
    from eventmesh.http.server.server import HttpServer, listen  # noqa: PLC0415

    async with task_group() as tasks:
        server = HttpServer(build_router(context, tasks), context.clock, context.settings)
        async with listen(server, context.settings) as url:
            context.announce("http", url)
            yield
