"""The server: listens, finds endpoints, and stops without losing a request."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast
from urllib.parse import urlsplit

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong

from eventmesh.aio.clock import Clock, sleep
from eventmesh.http.edge.door import build_edge
from eventmesh.http.edge.hosts import HostCheck
from eventmesh.http.limits.limits import HttpLimits, build_limits
from eventmesh.http.server.access_log import CLIENT_GONE, LOGGER, AccessLog, log_request
from eventmesh.http.server.connection import ServerConnection
from eventmesh.http.server.cross_origin import (
    CROSS_SITE,
    FETCH_SITE,
    SAFE,
    answer_preflight,
    check_site,
)
from eventmesh.http.server.problems import (
    UNAVAILABLE_RETRY_SECONDS,
    problem_from,
    retryable_problem,
)
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import (
    BaseResponse,
    BytesResponse,
    problem_response,
    target_path,
)
from eventmesh.http.server.routing import Endpoint, Router
from eventmesh.http.server.sockets import address_error, inherit_socket
from eventmesh.model.errors import InvocationError, Problem, SettingsError
from eventmesh.model.settings import Settings

BACKLOG: Final = 1024
"""Connections that the system may hold until they are accepted."""

GOODBYE: Final = 1.0
"""Seconds for the 503 responses to requests that are cancelled."""

HANDOVER: Final = 1.0
"""Seconds for which an idle connection is kept while other processes go on listening: a request
that is on its way is answered, and the client's next connection goes to them."""

_TOO_LARGE: Final = 413

_ACCEPTING: Final = 3
"""Passes of asyncio's event loop until an accepted client is among our connections."""

WILDCARDS: Final = ("", "0.0.0.0", "::")  # noqa: S104  # recognised, not chosen

_log: Final = logging.getLogger(__name__)


class HttpServer(web.Server):
    """Answers the requests of all connections.

    `router`, which may change, finds the endpoints; with None all clients are told to retry later.
    """

    def __init__(
        self,
        router: Router[Endpoint] | None,
        clock: Clock,
        settings: Settings,
        limits: HttpLimits | None = None,
    ) -> None:
        """Servers of one process share their `limits`."""
        super().__init__(
            self._handle,
            # aiohttp names its own class as the type of what this makes.
            request_factory=cast(Any, self._build_request),
            handler_cancellation=True,
        )
        self.router = router
        self._clock = clock
        self._limits = limits or build_limits(settings, clock)
        self._handover = 0.0 if settings.http_fd is None else HANDOVER
        self._tls = bool(settings.http_tls_certificate)
        self._edge = build_edge(settings)
        self._draining = False
        self._aborting = False

    def __call__(self) -> ServerConnection:
        return ServerConnection(
            self,
            asyncio.get_running_loop(),
            self._clock,
            self._limits,
            self._respond_to_error,
            access_log_class=AccessLog,
            access_log=LOGGER,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self._draining and isinstance(handler, ServerConnection):
            # It was accepted just before the listener closed.
            handler.finish(self._handover)

    async def drain(self) -> None:
        """Close idle connections and wait for the rest. Cancelled, answer the rest with 503."""
        self._draining = True
        for connection in self._open():
            connection.finish(self._handover)
        try:
            for _ in range(_ACCEPTING):
                await asyncio.sleep(0)
            if self._tls:
                # One that is still in its TLS handshake is not among our connections yet.
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
        return [
            connection
            for connection in self.connections
            if isinstance(connection, ServerConnection)
        ]

    def _build_request(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        connection: ServerConnection,
        *_: Any,
    ) -> Request:
        return Request(message, content, connection, self._edge)

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, whatever happens. Raises CancelledError where its client has gone."""
        request = cast(Request, raw)
        started = self._clock.now()
        try:
            response = await self._respond(request)
        except BaseException as error:  # noqa: BLE001  # it raises those that end the task
            _release_body(request)
            response = self._respond_to_failure(request, error, started)
        else:
            if not response.holds_body:
                _release_body(request)
        if response.status == _TOO_LARGE:
            self._limits.large_bodies.add(f"{request.method} {target_path(request.target)}")
        return response.answer(request)

    def _respond_to_failure(
        self, request: Request, error: BaseException, started: float
    ) -> BaseResponse:
        """The response where an endpoint raised `error`. Raises it where there is none."""
        if isinstance(error, (InvocationError, Problem)):
            return problem_response(problem_from(error), request.target)
        if isinstance(error, asyncio.CancelledError) and self._aborting:
            stopping = retryable_problem(503, "the service is stopping", 1.0)
            return problem_response(stopping, request.target)
        if isinstance(error, asyncio.CancelledError):
            log_request(request, CLIENT_GONE, self._clock.now() - started, 0)
        if isinstance(error, ConnectionError):
            return BytesResponse(CLIENT_GONE)
        if isinstance(error, Exception):  # A fault of ours ends one request, not the server.
            _log.error("answering %s %s failed", request.method, request.target, exc_info=error)
            return problem_response(Problem(500, "the server failed"), request.target)
        raise error

    def _respond(self, request: Request) -> Awaitable[BaseResponse]:
        method, path = request.method, request.target.partition("?")[0]
        if self._edge.check_host is not None:
            check_hosts(request, self._edge.check_host)
        router = self.router
        if router is None:
            raise retryable_problem(503, "the routes are not known yet", UNAVAILABLE_RETRY_SECONDS)
        try:
            if not path.startswith("/"):
                # The absolute form that proxies are sent (RFC 9112, section 3.2.2).
                path = urlsplit(path).path or path
            found = router.find(method, path)
            if found is None:
                return _respond_without_endpoint(request, router, path)
        except ValueError:
            raise Problem(400, "the path cannot be read: it is UTF-8, percent-encoded") from None
        endpoint, values = found
        if method not in SAFE and request.headers.get(FETCH_SITE) == CROSS_SITE:
            check_site(request, endpoint)
        return endpoint(request, values)

    def _respond_to_error(
        self, raw: web.BaseRequest, status: int, error: BaseException | None
    ) -> web.StreamResponse:
        """The response to what is not HTTP, or to a fault of the server itself."""
        request = cast(Request, raw)
        if status >= 500:  # noqa: PLR2004
            _log.error("answering %s %s failed", request.method, request.target, exc_info=error)
            problem = Problem(500, "the server failed")
        elif isinstance(error, LineTooLong):
            problem = Problem(431, "a line of the request's head is too long")
        else:
            problem = Problem(400, "this is not an HTTP/1.1 request")
        return problem_response(problem, request.target).answer(request)


def check_hosts(request: Request, check: HostCheck) -> None:
    """Check the host that a request is for. Raises Problem: 400 or 421.

    A target in absolute form names it, too, and wins over Host (RFC 9112, section 3.2.2): a request
    for one of ours by one of them and for another one by the other is for nobody.
    """
    check(request.host)
    if not request.target.startswith("/"):
        _, separator, rest = request.target.partition("://")
        if separator:
            check(rest.partition("/")[0].partition("?")[0])


def _release_body(request: Request) -> None:
    if request.hold is not None:
        request.hold.release()


async def _respond_without_endpoint(
    request: Request, router: Router[Endpoint], path: str
) -> BaseResponse:
    """The response where the method has no endpoint. Raises Problem: 403, 404 or 405."""
    method = request.method
    if method == "OPTIONS" and (preflight := answer_preflight(request, router, path)):
        return preflight
    allowed = router.allowed(path)
    if not allowed and path != "*":
        raise Problem(404, "there is no route with this path")
    headers = {"Allow": ", ".join(sorted(allowed | {"OPTIONS"}))}
    if method == "OPTIONS":
        return BytesResponse(204, headers=headers)
    raise Problem(405, f"no route with this path takes {method}", headers=headers)


@asynccontextmanager
async def listen(server: HttpServer, settings: Settings) -> AsyncGenerator[str]:
    """Accept clients while entered; gives the URL of the server.

    Leaving accepts no more requests and waits for those that run. If that wait is cancelled, they
    are cancelled and answered with 503. Raises SettingsError where the address cannot be used.
    """
    listener = await _listen(server, settings)
    try:
        yield _url(listener, settings)
    finally:
        listener.close()
        await server.drain()


async def _listen(server: HttpServer, settings: Settings) -> asyncio.Server:
    host, port = settings.http_host, settings.http_port
    tls = _tls(settings)
    listen = partial(
        asyncio.get_running_loop().create_server,
        server,
        ssl=tls,
        # What comes before the head of the first request may take as long.
        ssl_handshake_timeout=None if tls is None else settings.http_header_timeout,
    )
    try:
        if settings.http_fd is not None:
            return await listen(sock=inherit_socket(settings.http_fd), backlog=BACKLOG)
        return await listen(host, port, backlog=BACKLOG)
    except OSError as error:
        raise address_error(settings, error) from error


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
