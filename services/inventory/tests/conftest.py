import asyncio
import sqlite3
from contextlib import closing

import pytest
import pytest_asyncio

from eventmesh.testing import TestMesh

from ..app import inventory
from ..settings import Settings


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/inventory.db"


@pytest_asyncio.fixture
async def mesh(url):
    resources = {Settings: Settings()}
    async with TestMesh(inventory, resources=resources, store=url, http=True) as mesh:
        yield mesh


async def run_on(database, statement):
    """Run a statement in another connection; in a thread, because it may wait for the mesh's."""

    def run():
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()

    return await asyncio.to_thread(run)
