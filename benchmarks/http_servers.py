"""The same validated echo of an order, the way each framework's users write it.

Each runs alone in one process, with access logs off: `python -m benchmarks.http_servers NAME PORT`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.order import Order


def handwritten_aiohttp(port: int) -> None:
    import uvloop
    from aiohttp import web

    async def echo(request: web.Request) -> web.Response:
        order = Order.model_validate_json(await request.read())
        return web.Response(body=order.model_dump_json().encode(), content_type="application/json")

    uvloop.install()
    app = web.Application()
    app.router.add_post("/echo", echo)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


def fastapi(port: int) -> None:
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/echo")
    async def echo(order: Order) -> Order:
        return order

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def blacksheep(port: int) -> None:
    import uvicorn

    from benchmarks.blacksheep_echo import app

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def eventmesh(port: int) -> None:
    """Serves the APIs, too, with what the environment says about its callers."""
    import asyncio
    import os
    from dataclasses import replace

    import uvloop

    from eventmesh import Service, on
    from eventmesh.brokers.memory import MemoryBroker
    from eventmesh.host import host_services
    from eventmesh.model.settings import Settings

    app = Service("bench")

    @app.function(on.post("/echo"))
    async def echo(order: Order) -> Order:
        return order

    async def serve() -> None:
        settings = replace(Settings.from_environment(os.environ), http_port=port)
        async with MemoryBroker() as broker, host_services([app], broker, settings):
            await asyncio.Event().wait()

    uvloop.run(serve())


SERVERS: dict[str, Callable[[int], None]] = {
    "aiohttp": handwritten_aiohttp,
    "fastapi": fastapi,
    "blacksheep": blacksheep,
    "eventmesh": eventmesh,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
