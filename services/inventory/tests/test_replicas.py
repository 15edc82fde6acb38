"""Several processes at the same SQLite file."""

import asyncio
import json
import sys
from pathlib import Path

from eventmesh.testing import TestMesh

from ..app import get_ledger, inventory
from ..settings import Settings

REPLICA = """
import asyncio, json, sys
from eventmesh.testing import TestMesh
from {package}.app import inventory, reserve
from {package}.models import Hold
from {package}.settings import Settings

async def hold(mesh, order_id):
    held = Hold(order_id=order_id, lines=[{{"sku": "pot", "count": 1}}])
    return not (await mesh.invoke(reserve, held)).missing

async def main():
    resources = {{Settings: Settings()}}
    async with TestMesh(inventory, resources=resources, store=sys.argv[1], timeout=60) as mesh:
        orders = [sys.argv[2] + str(number) for number in range(20)]
        print(json.dumps(sum(await asyncio.gather(*(hold(mesh, order) for order in orders)))))

asyncio.run(main())
"""


async def test_replicas_start_together_and_sell_no_piece_twice(url):
    folder = Path(__file__).parents[1]
    program = REPLICA.format(package=folder.name)
    replicas = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, url, name),
            cwd=folder.parent,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in "abcd"
    ]
    held = [json.loads((await replica.communicate())[0]) for replica in replicas]
    async with TestMesh(inventory, resources={Settings: Settings()}, store=url) as mesh:
        ledger = await mesh.invoke(get_ledger)
    assert sum(held) == ledger.held == ledger.reserved == 50
