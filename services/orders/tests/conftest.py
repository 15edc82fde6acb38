import asyncio
import sqlite3
from contextlib import closing

import pytest
import pytest_asyncio

from eventmesh.testing import TestMesh

from ..app import orders

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
async def mesh(tmp_path, inventory):
    store = f"sqlite:///{tmp_path}/orders.db"
    stubs = {"inventory.reserve": inventory.reserve}
    async with TestMesh(orders, stubs=stubs, store=store, http=True) as mesh:
        yield mesh


async def run_on(database, statement):
    """Run a statement in another connection; in a thread, because it may wait for the mesh's."""

    def run():
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()

    return await asyncio.to_thread(run)
