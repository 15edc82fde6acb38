"""The server: listens, finds who answers, and stops without losing anybody."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, cast
from urllib.parse import urlsplit

from aiohttp import web

from eventmesh.aio.clock import Clock, sleep
from eventmesh.aio.tasks import task_group
from eventmesh.engine.function import AnyFunction, SourceContext
from eventmesh.http.endpoint import Endpoint
from eventmesh.http.route import HttpRoute
from eventmesh.http.routes import build_router
from eventmesh.http.server import access_log as access
from eventmesh.http.server.connection import ConnectionLimits, ServerConnection, as_response
from eventmesh.http.server.problems import RETRY_AFTER, problem_from, retryable_problem
from eventmesh.http.server.response import BaseResponse, BytesResponse, problem_response
from eventmesh.http.server.routing import Router
from eventmesh.http.server.sockets import inherited_socket, unusable
from eventmesh.model.errors import InvocationError, Problem, SettingsError
from eventmesh.model.settings import Settings

BACKLOG: Final = 1024
"""Connections that the system may hold until we take them."""

GOODBYE: Final = 1.0
"""Seconds for telling those who are not waited for any longer."""

HANDOVER: Final = 1.0
"""Seconds for which a connection without a request is kept when others go on listening: a request
that is on its way by it is answered, and the next one goes to them."""

_ACCEPTING: Final = 3
"""Passes of asyncio's event loop until a client that it has let in is one of our connections."""

WILDCARDS: Final = ("", "0.0.0.0", "::")  # noqa: S104  # recognised, not chosen

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def serving(
    bound: Sequence[tuple[AnyFunction, HttpRoute]], runtime: SourceContext
) -> AsyncGenerator[None]:
    """Answer requests while entered; see `HttpTrigger.source`.

    Leaving takes no more requests and waits for those that run. If that wait is cancelled, they
    are cancelled and answered with 503.
    """
    async with task_group() as tasks:
        router = build_router(bound, runtime, tasks)
        async with listen(HttpServer(router, runtime.clock, runtime.settings), runtime):
            yield


@asynccontextmanager
async def listen(server: HttpServer, runtime: SourceContext) -> AsyncGenerator[None]:
    """Let clients in while entered, and announce where; leave as `serving` says."""
    settings = runtime.settings
    listener = await _listen(server, settings)
    try:
        runtime.announce("http", _url(listener, settings))
        yield
    finally:
        listener.close()
        await server.drain()


class HttpServer(web.Server):
    """Answers the requests of all connections.

    `router`, which may change, says who answers; None tells everybody to come again.
    """

    def __init__(self, router: Router[Endpoint] | None, clock: Clock, settings: Settings) -> None:
        super().__init__(self._handle, handler_cancellation=True)
        self.router = router
        self._clock = clock
        self._limits = ConnectionLimits(settings.http_header_timeout, settings.http_read_timeout)
        self._handover = 0.0 if settings.http_fd is None else HANDOVER
        self._tls = bool(settings.http_tls_certificate)
        self._draining = False
        self._aborting = False

    def __call__(self) -> ServerConnection:
        return ServerConnection(
            self,
            asyncio.get_running_loop(),
            self._clock,
            self._limits,
            access_log_class=access.AccessLog,
            access_log=access.LOGGER,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self._draining:  # It was let in just before the listener closed.
            cast(ServerConnection, handler).finish(self._handover)

    async def drain(self) -> None:
        """Close what is idle and wait for the rest. Cancelled, tell the rest to come again."""
        self._draining = True
        for connection in self._open():
            connection.finish(self._handover)
        try:
            for _ in range(_ACCEPTING):
                await asyncio.sleep(0)
            if self._tls:
                # One that is still shaking hands is none of our connections yet.
                await sleep(self._clock, self._handover)
            while running := self._running():
                await asyncio.wait(running)
        except asyncio.CancelledError:
            await self._abort()
            raise

    async def _abort(self) -> None:
        self._aborting = True
        running = self._running()
        for connection in self._open():
            connection.cancel()
        if running:
            await asyncio.wait(running, timeout=GOODBYE)
        for connection in self._open():
            connection.abort()

    def _running(self) -> Sequence[asyncio.Task[None]]:
        tasks = [connection.task for connection in self._open()]
        return [task for task in tasks if task is not None and not task.done()]

    def _open(self) -> Sequence[ServerConnection]:
        return [one for one in self.connections if isinstance(one, ServerConnection)]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = self._clock.now()
        answer: BaseResponse
        try:
            answer = await self._answer(request)
        except (InvocationError, Problem) as error:
            answer = problem_response(problem_from(error), request.raw_path)
        except asyncio.CancelledError:
            if not self._aborting:
                access.write(request, access.CLIENT_GONE, self._clock.now() - started, 0)
                raise
            answer = problem_response(
                retryable_problem(503, "the service is stopping", 1.0), request.raw_path
            )
        except ConnectionError:
            answer = BytesResponse(access.CLIENT_GONE)
        except Exception:  # noqa: BLE001  # a fault of ours ends one request, not the server
            _log.exception("answering %s %s failed", request.method, request.raw_path)
            answer = problem_response(Problem(500, "the server failed"), request.raw_path)
        return as_response(answer)

    async def _answer(self, request: web.BaseRequest) -> BaseResponse:
        method, path = request.method, request.raw_path.partition("?")[0]
        router = self.router
        if router is None:
            raise retryable_problem(503, "it is not known yet who answers here", RETRY_AFTER)
        try:
            if not path.startswith("/"):
                # The absolute form that proxies are sent (RFC 9112, section 3.2.2).
                path = urlsplit(path).path or path
            found = router.find(method, path)
            if found is None:
                return _unanswered(router, method, path)
        except ValueError:
            raise Problem(400, "the path cannot be read: it is UTF-8, percent-encoded") from None
        endpoint, values = found
        return await endpoint(request, values)


def _unanswered(router: Router[Endpoint], method: str, path: str) -> BaseResponse:
    """The answer where nothing answers that method. Raises Problem: 404 or 405."""
    allowed = router.allowed(path)
    if not allowed and path != "*":
        raise Problem(404, "nothing answers at this path")
    headers = {"Allow": ", ".join(sorted(allowed | {"OPTIONS"}))}
    if method == "OPTIONS":
        return BytesResponse(204, headers=headers)
    raise Problem(405, f"{method} is not answered at this path", headers=headers)


async def _listen(server: HttpServer, settings: Settings) -> asyncio.Server:
    host, port = settings.http_host, settings.http_port
    listen = partial(asyncio.get_running_loop().create_server, server, ssl=_tls(settings))
    try:
        if settings.http_fd is not None:
            return await listen(sock=inherited_socket(settings.http_fd), backlog=BACKLOG)
        return await listen(host, port, backlog=BACKLOG)
    except OSError as error:
        raise unusable(settings, error) from error


def _tls(settings: Settings) -> ssl.SSLContext | None:
    certificate, key = settings.http_tls_certificate, settings.http_tls_key
    if not certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key or None)
    except OSError as error:
        raise SettingsError(
            f"the certificate {certificate!r} and its key cannot be used ({error}): both are PEM "
            "files, and the key is that of the certificate"
        ) from error
    return context


def _url(listener: asyncio.Server, settings: Settings) -> str:
    port = listener.sockets[0].getsockname()[1]
    host = "127.0.0.1" if settings.http_host in WILDCARDS else settings.http_host
    scheme = "https" if settings.http_tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
