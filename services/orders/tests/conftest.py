import asyncio
import sqlite3
from contextlib import closing

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from eventmesh.testing import TestMesh

from ..app import orders
from ..carrier import Behaviour, Carrier
from ..settings import Settings

TEA = {"customer": "ada@example.com", "lines": [{"sku": "tea", "count": 3}]}


class Inventory:
    """Stands in for the service inventory: it has tea."""

    def __init__(self) -> None:
        self.holds = []

    def reserve(self, order_id: str, lines: list) -> dict:
        self.holds.append(order_id)
        missing = [line["sku"] for line in lines if line["sku"] != "tea"]
        return {"prices": {} if missing else {"tea": 450}, "missing": missing}


@pytest.fixture
def inventory():
    return Inventory()


@pytest_asyncio.fixture
async def carrier():
    """A real carrier on a free port; what it is asked for that is in `failing` fails."""
    carrier = Carrier(Behaviour(failure_rate=0))
    carrier.failing = set()

    @web.middleware
    async def fail(request, handler):
        if (request.method, request.match_info["step"]) in carrier.failing:
            return web.Response(status=503)
        return await handler(request)

    app = carrier.app()
    app.middlewares.append(fail)
    async with TestServer(app) as server:
        carrier.url = str(server.make_url(""))
        yield carrier


@pytest.fixture
def options(inventory, carrier):
    """What a mesh of orders has around it."""
    return {
        "stubs": {"inventory.reserve": inventory.reserve},
        "resources": {Settings: Settings(carrier_url=carrier.url)},
    }


@pytest_asyncio.fixture
async def mesh(tmp_path, options):
    store = f"sqlite:///{tmp_path}/orders.db"
    async with TestMesh(orders, store=store, http=True, **options) as mesh:
        yield mesh


async def run_on(database, statement):
    """Run a statement in another connection; in a thread, because it may wait for the mesh's."""

    def run():
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()

    return await asyncio.to_thread(run)
