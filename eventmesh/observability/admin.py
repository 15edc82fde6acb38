"""The admin listener: metrics and health on an address of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

import orjson
from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import variable
from eventmesh.model.value import value

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
    application = _application(source)
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


def _application(source: AdminSource) -> web.Application:
    async def show_metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        body = encode(await source.metrics())
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def show_health(_: web.Request) -> web.Response:
        return _status_response(await source.health(), "ok", "not ok")

    async def show_readiness(_: web.Request) -> web.Response:
        return _status_response(await source.readiness(), "ready", "not ready")

    application = web.Application()
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
