"""The admin listener: metrics and health, on an address of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import orjson
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from eventmesh.errors import SettingsError
from eventmesh.settings import variable

_SHUTDOWN_TIMEOUT: Final = 1.0
"""Seconds a request may still take when the listener closes; all of them are short."""

Readiness: TypeAlias = Callable[[], tuple[bool, Mapping[str, str]]]
"""Whether the process wants work, and what each of its parts says about that."""


@asynccontextmanager
async def admin_server(
    host: str, port: int, metrics: CollectorRegistry, readiness: Readiness
) -> AsyncGenerator[str]:
    """Serve `/metrics`, `/healthz` and `/readyz` while entered; gives the URL it listens on.

    `/metrics` is in Prometheus' text format or in OpenMetrics, as the client asks. `/healthz` is
    200 as long as the event loop answers; `/readyz` is 200 or 503 with what `readiness` says.
    Port 0 takes a free one. Raises SettingsError where the address cannot be listened on.
    """
    runner = web.AppRunner(
        _application(metrics, readiness), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"the admin listener cannot use {host}:{port} ({error.strerror or error}): "
                f"stop what listens there, or choose another port with {variable('admin_port')}"
            ) from error
        yield f"http://{_address(runner)}"
    finally:
        await runner.cleanup()


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _application(metrics: CollectorRegistry, readiness: Readiness) -> web.Application:
    async def show_metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(metrics), headers={hdrs.CONTENT_TYPE: content_type})

    async def show_health(_: web.Request) -> web.Response:
        return _json(200, {"status": "ok"})

    async def show_readiness(_: web.Request) -> web.Response:
        ready, reasons = readiness()
        status = "ready" if ready else "not ready"
        return _json(200 if ready else 503, {"status": status, "checks": dict(reasons)})

    application = web.Application()
    application.add_routes(
        [
            web.get("/metrics", show_metrics),
            web.get("/healthz", show_health),
            web.get("/readyz", show_readiness),
        ]
    )
    return application


def _json(status: int, body: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
