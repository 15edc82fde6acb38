import asyncio
import sqlite3
from contextlib import closing

import pytest_asyncio
from aiohttp.test_utils import TestServer

from eventmesh.testing import TestMesh

from ..app import payments
from ..provider import Behaviour, Provider
from ..settings import Settings


@pytest_asyncio.fixture
async def provider():
    """A real provider on a free port, that works well until a test says otherwise."""
    provider = Provider(Behaviour(failure_rate=0, latency_seconds=0))
    server = TestServer(provider.app())
    await server.start_server()
    provider.server, provider.url = server, str(server.make_url(""))
    yield provider
    await server.close()


@pytest_asyncio.fixture
async def start(tmp_path, provider):
    def start(**options):
        settings = Settings(provider_url=provider.url, provider_timeout_seconds=60)
        store = f"sqlite:///{tmp_path}/payments.db"
        return TestMesh(payments, resources={Settings: settings}, store=store, **options)

    return start


async def run_on(database, statement):
    """Run a statement in another connection; in a thread, because it may wait for the mesh's."""

    def run():
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()

    return await asyncio.to_thread(run)
