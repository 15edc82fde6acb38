import pytest
import pytest_asyncio

from eventmesh.testing import TestMesh

from ..app import orders
from ..settings import Settings

TEA = {"customer": "ada@example.com", "lines": [{"sku": "tea", "count": 3}]}


class Inventory:
    """Stands in for the service inventory: it has tea."""

    def __init__(self) -> None:
        self.holds = []
        self.refused = None

    def reserve(self, order_id: str, lines: list) -> dict:
        self.holds.append(order_id)
        missing = [line["sku"] for line in lines if line["sku"] != "tea"]
        prices = {} if missing or self.refused else {"tea": 450}
        return {"prices": prices, "missing": missing, "refused": self.refused}


@pytest.fixture
def inventory():
    return Inventory()


@pytest_asyncio.fixture
async def mesh(tmp_path, inventory):
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/orders.db")
    stubs = {"inventory.reserve": inventory.reserve}
    async with TestMesh(orders, stubs=stubs, resources={Settings: settings}, http=True) as mesh:
        yield mesh
