"""Several processes at the same SQLite file."""

import asyncio
import json
import sys
from pathlib import Path

from ..storage import opened

REPLICA = """
import asyncio, json, sys
from datetime import UTC, datetime
from {package}.models import Hold
from {package}.storage import opened

async def reserve(store, order_id):
    hold = Hold(order_id=order_id, lines=[{{"sku": "pot", "count": 1}}])
    return not (await store.reserve(hold, datetime.now(UTC))).missing

async def main():
    async with opened(sys.argv[1]) as store:
        orders = [sys.argv[2] + str(number) for number in range(20)]
        print(json.dumps(sum(await asyncio.gather(*(reserve(store, order) for order in orders)))))

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
    async with opened(url) as store:
        ledger = await store.ledger()
    assert sum(held) == ledger.held == ledger.reserved == 50
