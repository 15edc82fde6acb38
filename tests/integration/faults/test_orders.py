"""The shop keeps its books: each order once, whoever is killed and whatever is restarted."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import shop_worker

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters
from eventmesh.processes.worker import serve_gateway
from services.orders.carrier import Behaviour as CarrierBehaviour
from services.orders.carrier import Carrier
from services.payments.provider import Behaviour, Provider
from services.shop import Mailbox, receiving, serving

ROOT = Path(__file__).parents[3]
FULL = "EVENTMESH_TEST_FULL" in os.environ
ORDERS = int(os.environ.get("EVENTMESH_TEST_ORDERS", "20000" if FULL else "20"))
PROCESSES = 6 if FULL else 3
CUSTOMERS = 16
KILL_SECONDS = 1.0
HOLD_SECONDS = 60 if FULL else 15
"""How long an order that is not paid is held: what is lost on the way to it ends then."""
PIECES = 1_000_000
NEVER = frozenset((400, 422))
"""Statuses that no order of these customers may get, whatever is away."""


class Workers:
    """Processes with all services, of which the oldest is killed and replaced."""

    def __init__(self, process):
        self._process = process
        self._up = []
        self._came_up = asyncio.Condition()
        self.kills = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, *urls, environment):
        command = (sys.executable, shop_worker.__file__, *urls)
        everything = os.environ | environment | {"PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env=everything
        )
        workers = cls(process)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(workers._read())
                for _ in range(PROCESSES):
                    workers._write("start")
                yield workers
                reading.cancel()
        finally:
            process.kill()
            await process.communicate()

    def _write(self, line):
        self._process.stdin.write(f"{line}\n".encode())

    async def _read(self):
        while line := await self._process.stdout.readline():
            async with self._came_up:
                self._up.append(int(line.split()[1]))
                self._came_up.notify_all()

    async def replace_for_ever(self):
        """Kill one process a second, as long as all serve.

        Where they start slowly, fewer are killed: who lives for less than its work takes shows
        nothing, but that a message is given up which is lost for the thirtieth time.
        """
        while True:
            await asyncio.sleep(KILL_SECONDS)
            async with self._came_up:
                await self._came_up.wait_for(lambda: len(self._up) == PROCESSES)
                self._write(f"kill {self._up.pop(0)}")
            self._write("start")
            self.kills += 1


class Customers:
    """They repeat what was not answered with 201, under the same key, until it is."""

    def __init__(self, http):
        self._http = http
        self._left = iter(range(ORDERS))
        self._progress = asyncio.Condition()
        self.placed = []
        self.answers = Counter()

    async def order_all(self):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CUSTOMERS):
                tasks.create_task(self._order_some())

    async def reach(self, count):
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.placed) >= count)

    async def _order_some(self):
        for number in self._left:
            order_id = await self._order(number)
            async with self._progress:
                self.placed.append(order_id)
                self._progress.notify_all()

    async def _order(self, number):
        lines = [{"sku": "tea", "count": 1 + number % 3}]
        order = {"customer": f"c{number}@example.com", "lines": lines}
        headers = {"Idempotency-Key": f'"order-{number}"'}
        while True:
            async with self._http.post("/orders", json=order, headers=headers) as reply:
                self.answers[reply.status] += 1
                assert reply.status not in NEVER, await reply.text()
                if reply.status == 201:
                    return (await reply.json())["order_id"]
            await asyncio.sleep(0.2)


async def stock(http):
    """Have enough of what is ordered; the first services may not be known yet."""
    item = {"price": 450, "available": PIECES}
    while True:
        async with http.put("/inventory/items/tea", json=item) as reply:
            if reply.status == 200:
                return
        await asyncio.sleep(0.2)


class Books:
    """What each service has in its tables, as one query each, and what the carrier has."""

    def __init__(self, query, carrier):
        self._query = query
        self._carrier = carrier

    async def read(self):
        orders = await self._query("SELECT order_id, status FROM orders")
        return {
            "orders": {id: status for id, status in orders if status != "abandoned"},
            "abandoned": {id for id, status in orders if status == "abandoned"},
            "payments": dict(await self._query("SELECT order_id, status FROM payments")),
            "reservations": dict(await self._query("SELECT order_id, status FROM reservations")),
            "reported": dict(await self._query("SELECT order_id, status FROM reported_orders")),
            "parcels": {key for key, taken in self._carrier.parcels.items() if taken},
            "collected": self._carrier.collected(),
            "mails": sorted(await self._query("SELECT order_id, kind FROM mails")),
            "outbox": (await self._query("SELECT count(*) FROM eventmesh_outbox"))[0][0],
        }

    async def closed(self):
        """Read them when nothing is open any more. What is open is in the error of the deadline."""
        while True:
            books = await self.read()
            if not open_in(books):
                return books
            await asyncio.sleep(1)


ENDS = {"confirmed": "committed", "cancelled": "released"}


def open_in(books):
    """Count, by book, the orders that are not there as they are to end."""
    orders = books["orders"]
    confirmed = {id for id, status in orders.items() if status == "confirmed"}
    held = dict.fromkeys(books["abandoned"], "released")
    expected = {
        "orders": {id for id, status in orders.items() if status not in ENDS},
        "payments": {
            id
            for id, status in orders.items()
            if (books["payments"].get(id) == "succeeded") != (status == "confirmed")
            or id not in books["payments"]
        },
        "reservations": books["reservations"].items()
        ^ (held | {id: ENDS.get(status) for id, status in orders.items()}).items(),
        "reported": books["reported"].items() ^ orders.items(),
        "parcels": books["parcels"] ^ confirmed,
        "collected": books["collected"] ^ confirmed,
        "mails": set(books["mails"]) ^ set(orders.items()),
    }
    return {name: len(ids) for name, ids in expected.items() if ids} | (
        {"outbox": books["outbox"]} if books["outbox"] else {}
    )


@pytest.mark.disruptive
async def test_each_order_is_in_all_books_once(
    postgres, postgres_url, rabbitmq, query, record_figure
):
    """Processes are killed all the time; the broker and the database are restarted."""
    begun = time.monotonic()
    provider = Provider(Behaviour(failure_rate=0.1, latency_seconds=0.01))
    carrier = Carrier(CarrierBehaviour(failure_rate=0.1))
    mailbox, broker_url = Mailbox(), await rabbitmq.new_virtual_host()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(270 + ORDERS))
        environment = {
            "PAYMENTS_PROVIDER_URL": await stack.enter_async_context(serving(provider.app())),
            "ORDERS_CARRIER_URL": await stack.enter_async_context(serving(carrier.app())),
            "NOTIFICATIONS_SMTP_PORT": str(await stack.enter_async_context(receiving(mailbox))),
            "INVENTORY_HOLD_SECONDS": str(HOLD_SECONDS),
        }
        broker = await stack.enter_async_context(RabbitBroker(broker_url, connect_timeout=60))
        workers = await stack.enter_async_context(
            Workers.running(postgres_url, broker_url, environment=environment)
        )
        gateway = await stack.enter_async_context(serve_gateway(broker, Settings(http_port=0)))
        http = await stack.enter_async_context(aiohttp.ClientSession(gateway.addresses["http"]))
        await stock(http)
        customers = Customers(http)
        async with asyncio.TaskGroup() as tasks:
            killing = tasks.create_task(workers.replace_for_ever())
            ordering = tasks.create_task(customers.order_all())
            await customers.reach(ORDERS // 3)
            await rabbitmq.restart()
            await customers.reach(2 * ORDERS // 3)
            await postgres.restart()
            await ordering
            killing.cancel()
        ordered = time.monotonic() - begun
        books = await Books(query, carrier).closed()
        seconds = time.monotonic() - begun
        for service in shop_worker.SERVICES:
            for name in service.functions:
                assert await broker.depth(dead_letters(f"{service.name}.{name}")) == 0, name

    orders = books["orders"]
    assert len(customers.placed) == ORDERS
    assert set(customers.placed) == orders.keys()
    confirmed = {id for id, status in orders.items() if status == "confirmed"}
    assert provider.charges.keys() - provider.refunds == confirmed
    sold = await query(
        "SELECT sum((counts->>'tea')::int) FROM reservations WHERE status = 'committed'"
    )
    items = await query("SELECT available, reserved, sold FROM items WHERE sku = 'tea'")
    sold = sold[0][0] or 0
    assert items == [(PIECES - sold, 0, sold)]
    mailed = Counter(str(mail["Subject"]) for mail in mailbox.mails)
    assert set(mailed) == {f"Your order {id} is {status}" for id, status in orders.items()}
    record_figure(
        f"orders: {ORDERS:,} in {ordered:.0f} s, closed after {seconds:.0f} s, {workers.kills} "
        f"kill -9 of {PROCESSES} processes, the broker and the database restarted once: "
        f"{len(confirmed):,} confirmed, {ORDERS - len(confirmed):,} cancelled, "
        f"{len(books['abandoned'])} reservations without an order released, each row once, "
        f"{mailed.total() - ORDERS} mails twice, no dead letter; answers {dict(customers.answers)}"
    )
