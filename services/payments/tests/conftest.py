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
        settings = Settings(
            database_url=f"sqlite+aiosqlite:///{tmp_path}/payments.db",
            provider_url=provider.url,
        )
        return TestMesh(payments, resources={Settings: settings}, **options)

    return start
