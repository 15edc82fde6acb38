"""The admin listener: metrics and health, on an address of their own."""

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
"""Seconds a request may still take when the listener closes; all of them are short."""


@value
class State:
    """Whether all is well, and what each part says about that."""

    good: bool
    checks: Mapping[str, str]


class Shown(Protocol):
    """What a process, or several as one, show of themselves."""

    async def metrics(self) -> Collector: ...

    async def health(self) -> State:
        """Whether it is alive; if not, it should be started again."""
        ...

    async def readiness(self) -> State:
        """Whether it wants work."""
        ...


@asynccontextmanager
async def admin_server(host: str, port: int, shown: Shown) -> AsyncGenerator[str]:
    """Serve `/metrics`, `/healthz` and `/readyz` while entered; gives the URL it listens on.

    `/metrics` is in Prometheus' text format or in OpenMetrics, as the client asks. `/healthz` and
    `/readyz` are 200 or 503. Port 0 takes a free one. Raises SettingsError where the address
    cannot be listened on.
    """
    application = _application(shown)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
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


def _application(shown: Shown) -> web.Application:
    async def show_metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        body = encode(await shown.metrics())
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def show_health(_: web.Request) -> web.Response:
        return _state(await shown.health(), "ok", "not ok")

    async def show_readiness(_: web.Request) -> web.Response:
        return _state(await shown.readiness(), "ready", "not ready")

    application = web.Application()
    application.add_routes(
        [
            web.get("/metrics", show_metrics),
            web.get("/healthz", show_health),
            web.get("/readyz", show_readiness),
        ]
    )
    return application


def _state(state: State, good: str, bad: str) -> web.Response:
    body: dict[str, object] = {"status": good if state.good else bad}
    if state.checks:
        body["checks"] = dict(state.checks)
    return web.Response(
        body=orjson.dumps(body),
        status=200 if state.good else 503,
        content_type="application/json",
    )
