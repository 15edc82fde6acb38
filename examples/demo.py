"""A small shop: HTTP, calls, events, a queue and timers, and what fires what.

Run it:   make demo, or python examples/demo.py
          (and to order tea yourself: eventmesh dev examples/demo.py)

Three services run on the embedded broker. A real HTTP request orders tea; what follows is told as
it happens. The clock is the one for tests, which is moved: a week takes a moment.
"""

import asyncio
import logging

import aiohttp
from pydantic import BaseModel

from eventmesh import Context, RetryLater, Service, on
from eventmesh.abc import Handler
from eventmesh.invocation import Invocation
from eventmesh.result import Result
from eventmesh.testing import TestMesh


def telling(handler: Handler) -> Handler:
    """A middleware that says what runs, and why."""

    async def run(invocation: Invocation) -> Result:
        attempt = f", attempt {invocation.attempt}" if invocation.attempt > 1 else ""
        print(f"  {invocation.function:<20} <- {cause_of(invocation)}{attempt}")
        result = await handler(invocation)
        if result.error is not None:
            print(f"  {'':<20}    not yet: {result.error}")
        return result

    return run


def cause_of(invocation: Invocation) -> str:
    match invocation.trigger:
        case "http" if invocation.http is not None:
            return f"{invocation.http.method} {invocation.http.target}"
        case "event":
            return f"event {invocation.type} of {invocation.caller}"
        case "queue" if invocation.batch is not None:
            return f"a batch of {len(invocation.batch)} from its queue"
        case "invoke" if invocation.mode == "sync":
            return f"called by {invocation.caller}"
        case "invoke":
            return f"sent by {invocation.caller}"
        case trigger:
            return trigger


shop = Service("shop", middleware=[telling])
pricing = Service("pricing", middleware=[telling])
warehouse = Service("warehouse", middleware=[telling])


class Order(BaseModel):
    item: str
    count: int = 1


class Receipt(BaseModel):
    total: float


@shop.function(on.post("/orders", status=201), timeout="5s")
async def place_order(order: Order, ctx: Context) -> Receipt:
    total = await ctx.invoke(quote, order)
    await ctx.emit("order.placed", order)
    await ctx.send(ask_for_review, order, delay="7d")
    return Receipt(total=total)


@shop.function(on.event("parcel.*"))
async def notify(order: Order) -> None: ...


@shop.function
async def ask_for_review(order: Order) -> None: ...


@shop.function(on.cron("0 18 * * THU", tz="Europe/Berlin"))
async def report() -> None: ...


@pricing.function
def quote(order: Order) -> float:
    return 4.0 * order.count


@warehouse.function(on.event("order.placed"))
async def reserve(order: Order, ctx: Context) -> None:
    if ctx.attempt == 1:
        raise RetryLater(after=10, reason="the shelf is being filled")
    await ctx.send("queue:parcels", order)


@warehouse.function(on.queue("parcels", batch=20, batch_window="1m"))
async def ship(orders: list[Order], ctx: Context) -> None:
    for order in orders:
        await ctx.emit("parcel.shipped", order)


async def main() -> None:
    logging.getLogger("eventmesh").setLevel("ERROR")  # What is told here need not be logged too.
    async with (
        TestMesh(shop, pricing, warehouse, http=True) as mesh,
        aiohttp.ClientSession(mesh.url) as client,
    ):
        order = Order(item="tea", count=3)
        print(f"POST {mesh.url}/orders {order.model_dump_json()}")
        async with client.post("/orders", json=order.model_dump()) as reply:
            print(f"{reply.status} {await reply.text()}")
        await mesh.settle()
        for wait in ("10s", "1m", "18h", "6d 6h"):
            print(f"{wait} later")
            await mesh.advance(wait)


if __name__ == "__main__":
    asyncio.run(main())
