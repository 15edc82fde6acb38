"""The admin listener: metrics and health on an address of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeAlias

import orjson
from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from eventmesh.model.access.addresses import is_loopback, parse_authority
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import variable
from eventmesh.model.value import value

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SHUTDOWN_TIMEOUT: Final = 1.0
"""Seconds that open requests get to finish when the listener closes; all of them are short."""


@value
class HealthStatus:
    """Whether a check passed, and the state of each part that was checked."""

    ok: bool
    checks: Mapping[str, str]


class AdminSource(Protocol):
    """What the admin listener serves: one process, or several as one."""

    async def metrics(self) -> Collector: ...

    async def health(self) -> HealthStatus:
        """Return whether it is alive; if not, it should be restarted."""
        ...

    async def readiness(self) -> HealthStatus:
        """Return whether it takes work."""
        ...


@asynccontextmanager
async def admin_server(host: str, port: int, source: AdminSource) -> AsyncGenerator[str]:
    """Serve `/metrics`, `/healthz` and `/readyz` while entered; yield the URL of the listener.

    `/metrics` answers in Prometheus' text format or in OpenMetrics, as the client asks.
    `/healthz` and `/readyz` answer 200 or 503. Port 0 means any free port. Raises SettingsError
    if the address cannot be used.
    """
    application = _application(source, local=is_loopback(host))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"the admin listener cannot use {host}:{port} ({error.strerror or error}): "
                "stop the process that listens there, or choose another port with "
                f"{variable('admin_port')}"
            ) from error
        yield f"http://{_address(runner)}"
    finally:
        await runner.cleanup()


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@web.middleware
async def _check_host(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answer for local names only: a page may have made a name of its own point here."""
    host = request.headers.get(hdrs.HOST, "")
    if host and not is_loopback(parse_authority(host)):
        raise web.HTTPMisdirectedRequest(
            text=f"this address answers for local names only, and {host!r} is none: ask for "
            f"127.0.0.1, or listen elsewhere ({variable('admin_host')})"
        )
    return await handler(request)


async def _forbid_guessing(_: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["X-Content-Type-Options"] = "nosniff"


def _application(source: AdminSource, *, local: bool) -> web.Application:
    async def show_metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        body = encode(await source.metrics())
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def show_health(_: web.Request) -> web.Response:
        return _status_response(await source.health(), "ok", "not ok")

    async def show_readiness(_: web.Request) -> web.Response:
        return _status_response(await source.readiness(), "ready", "not ready")

    application = web.Application(middlewares=[_check_host] if local else [])
    application.on_response_prepare.append(_forbid_guessing)
    application.add_routes(
        [
            web.get("/metrics", show_metrics),
            web.get("/healthz", show_health),
            web.get("/readyz", show_readiness),
        ]
    )
    return application


def _status_response(status: HealthStatus, ok: str, not_ok: str) -> web.Response:
    body: dict[str, object] = {"status": ok if status.ok else not_ok}
    if status.checks:
        body["checks"] = dict(status.checks)
    return web.Response(
        body=orjson.dumps(body),
        status=200 if status.ok else 503,
        content_type="application/json",
    )
