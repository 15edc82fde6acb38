"""Orders from inside of the stack, and the audit of its books; each prints one line of JSON."""

import asyncio
import collections
import json
import sqlite3
import sys
import time
import uuid
from pathlib import Path

import aiohttp

ACCEPTED = Path("/ledger/accepted")
URL = "http://gateway:8080/orders"


async def order(client, statuses, times):
    number, began = uuid.uuid4().hex, time.monotonic()
    try:
        async with client.post(URL, json={"number": number}) as answer:
            text = await answer.text()
            status = str(answer.status) if answer.ok else f"{answer.status} {reason(text)}"
    except (aiohttp.ClientError, TimeoutError) as error:
        status = type(error).__name__
    times.append(time.monotonic() - began)
    statuses[status] += 1
    return number if status == "200" else None


def reason(text):
    """What a problem says (RFC 9457)."""
    try:
        problem = json.loads(text)
    except ValueError:
        return text[:99]
    return f"{problem.get('title')}: {problem.get('detail')}"[:99]


async def load(rate, seconds):
    """Place orders at a rate, whatever becomes of them."""
    statuses, times, placing = collections.Counter(), [], []
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as client, asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        for number in range(max(round(rate * seconds), 1)):
            await asyncio.sleep(began + number / rate - time.monotonic())
            placing.append(tasks.create_task(order(client, statuses, times)))
    keep([number for each in placing if (number := each.result())])
    print(json.dumps({"sent": len(times), "statuses": statuses, "slowest": max(times)}))


def keep(accepted):
    with ACCEPTED.open("a") as file:
        file.writelines(f"{number}\n" for number in accepted)


def audit():
    """Say how many orders were accepted, and how many of them are not in the books."""
    accepted = set(ACCEPTED.read_text().split()) if ACCEPTED.exists() else set()
    with sqlite3.connect("/ledger/books.sqlite", timeout=30) as ledger:
        entered = {number for (number,) in ledger.execute("SELECT number FROM orders")}
    print(
        json.dumps(
            {
                "accepted": len(accepted),
                "entered": len(entered),
                "missing": len(accepted - entered),
                "unasked": len(entered - accepted),
            }
        )
    )


if sys.argv[1] == "audit":
    audit()
else:
    asyncio.run(load(float(sys.argv[2]), float(sys.argv[3])))
