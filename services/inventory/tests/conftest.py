import pytest
import pytest_asyncio

from eventmesh.testing import TestMesh

from ..app import inventory
from ..settings import Settings
from ..storage import opened


@pytest.fixture
def url(tmp_path):
    return f"sqlite+aiosqlite:///{tmp_path}/inventory.db?timeout=30"


@pytest_asyncio.fixture
async def store(url):
    async with opened(url) as store:
        yield store


@pytest_asyncio.fixture
async def mesh(url):
    settings = Settings(database_url=url)
    async with TestMesh(inventory, resources={Settings: settings}, http=True) as mesh:
        yield mesh
