"""Customers of the shop: orders by HTTP, a load that does not wait, and books that balance."""

import asyncio
import itertools
import time
from collections import Counter

import aiohttp

DEADLINE = 180.0
"""Real seconds in which anything that is expected has happened, on a busy machine too."""

HONEST = frozenset((200, 201, 429, 503))
"""Statuses that a request may get while containers come and go: done, or not now."""

SKU = "tea"
PAGE = 500


class Shop:
    """The shop as its customers see it, through the gateway."""

    def __init__(self, client):
        self.client = client

    async def get(self, path):
        async with self.client.get(path) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def text(self, path):
        async with self.client.get(path) as answer:
            assert answer.status == 200, (path, answer.status)
            return await answer.text()

    async def order(self, *, count=1, customer="ada@shop.example", key=""):
        """Place an order; its status and body."""
        order = {"customer": customer, "lines": [{"sku": SKU, "count": count}]}
        headers = {"Idempotency-Key": key} if key else {}
        async with self.client.post("/orders", json=order, headers=headers) as answer:
            return answer.status, await answer.json()

    async def closed(self, order_id):
        """Wait until an order is confirmed or cancelled, and return it."""
        return await self.until(
            lambda: self.get(f"/orders/{order_id}"), lambda order: order["status"] != "placed"
        )

    async def until(self, ask, expected):
        """Ask again until the answer is as expected, and return it."""
        answer = None
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    answer = await ask()
                    if expected(answer):
                        return answer
                    await asyncio.sleep(0.2)  # Asked over HTTP, which tells of no change.
        except TimeoutError:
            raise AssertionError(f"still {answer}") from None

    async def stock(self, count):
        """Have so many pieces of everything that is ordered here."""
        item = {"price": 450, "available": count}
        async with self.client.put(f"/inventory/items/{SKU}", json=item) as answer:
            assert answer.status == 200, await answer.text()

    async def orders(self, status):
        """The ids of all orders of a status."""
        ids, after = set(), ""
        while after is not None:
            page = await self.get(f"/orders?status={status}&limit={PAGE}&after={after}")
            ids.update(order["order_id"] for order in page["orders"])
            after = page["next"]
        return ids

    async def books(self):
        """What each service says became of all orders."""
        placed, confirmed, cancelled = [
            len(await self.orders(status)) for status in ("placed", "confirmed", "cancelled")
        ]
        stock = await self.get("/inventory/ledger")
        payments = await self.get("/payments/ledger")
        mails = await self.get("/notifications/ledger")
        return {
            "orders": (placed, confirmed, cancelled),
            "reservations": (stock["held"], stock["committed"]),
            "payments": payments["succeeded"],
            "mails": (mails["confirmed"], mails["cancelled"]),
        }

    async def balanced(self):
        """Wait until nothing is under way, and the books of all services agree; the books."""
        return await self.until(self.books, balances)

    async def capacity(self, orders, *, customers=8):
        """Return how many orders a second this machine brings to their end, mails included."""
        begun = time.monotonic()
        left = iter(range(orders))

        async def buy():
            for _ in left:
                status, body = await self.order()
                assert status == 201, (status, body)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(customers):
                tasks.create_task(buy())
        await self.balanced()
        return orders / (time.monotonic() - begun)


def balances(books):
    placed, confirmed, cancelled = books["orders"]
    return placed == 0 and books == {
        "orders": (0, confirmed, cancelled),
        "reservations": (0, confirmed),
        "payments": confirmed,
        "mails": (confirmed, cancelled),
    }


class Load:
    """Requests at a fixed rate, whether or not the earlier ones were answered.

    One in `EVERY` places an order, the others look at one. `placed` has the ids of the orders
    that were accepted, `statuses` counts the answers, and `dishonest` those that no customer
    should see, by status and text.
    """

    EVERY = 8
    AT_ONCE = 2_000

    def __init__(self, shop, rate):
        self._shop = shop
        self._rate = rate
        self._stop = asyncio.Event()
        self._room = asyncio.Semaphore(self.AT_ONCE)
        self.placed = []
        self.statuses = Counter()
        self.dishonest = Counter()

    async def __aenter__(self):
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._running = self._tasks.create_task(self._run())
        return self

    async def __aexit__(self, *exception):
        self._stop.set()
        return await self._tasks.__aexit__(*exception)

    async def _run(self):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in itertools.count():
            try:
                async with asyncio.timeout_at(begun + number / self._rate):
                    await self._stop.wait()
                return
            except TimeoutError:
                await self._room.acquire()
                self._tasks.create_task(self._request(number))

    async def accepts(self, count):
        """Wait until so many more orders have been accepted."""
        wanted = len(self.placed) + count
        await self._shop.until(self._accepted, lambda accepted: accepted >= wanted)

    async def _accepted(self):
        return len(self.placed)

    async def _request(self, number):
        try:
            if number % self.EVERY == 0 or not self.placed:
                status, body = await self._shop.order(key=f"load-{number}")
                if status == 201:
                    self.placed.append(body["order_id"])
            else:
                order = self.placed[number % len(self.placed)]
                async with self._shop.client.get(f"/orders/{order}") as answer:
                    status, body = answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            status, body = 0, repr(error)
        finally:
            self._room.release()
        self.statuses[status] += 1
        if status not in HONEST:
            self.dishonest[status, str(body)[:200]] += 1
