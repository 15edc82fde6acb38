"""What runs in the swarm: orders come by HTTP, and each is entered into the books once."""

import asyncio
import os
import sqlite3

from eventmesh import Context, Service, on

LEDGER = "/ledger/books.sqlite"

sales = Service("sales")
books = Service("books")


@sales.function(on.post("/orders"), concurrency=50, max_pending=1000, timeout=30)
async def place(number: str, ctx: Context) -> str:
    if os.environ.get("SALES_FAULTY"):
        raise RuntimeError("this version takes no order")
    await ctx.send("books.enter", {"number": number})
    return number


def write(number):
    with sqlite3.connect(LEDGER, timeout=30) as ledger:
        ledger.execute("CREATE TABLE IF NOT EXISTS orders (number TEXT PRIMARY KEY)")
        ledger.execute("INSERT OR IGNORE INTO orders VALUES (?)", (number,))
    ledger.close()


@books.function(concurrency=1, timeout=30)
async def enter(number: str) -> None:
    await asyncio.sleep(0.1)
    await asyncio.to_thread(write, number)
