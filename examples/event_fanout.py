"""Fan-out: one event, and every function that subscribed to its type gets a copy.

Run it:   eventmesh dev examples/event_fanout.py
Fire it:  curl http://127.0.0.1:8080/orders -H 'Content-Type: application/json' -d '{"item": "tea"}'
          eventmesh emit order.cancelled '{"item": "tea"}'

In a pattern `*` stands for one word and `#` for any number. The sender knows none of those who
listen; each of them has its own retries and its own dead letters.
"""

from typing import Any

from pydantic import BaseModel

from eventmesh import Context, Event, Service, on

shop = Service("shop")
office = Service("office")


class Order(BaseModel):
    item: str
    count: int = 1


@shop.function(on.post("/orders", status=201))
async def place(order: Order, ctx: Context) -> Order:
    await ctx.emit("order.placed", order, subject=order.item)
    return order


@shop.function(on.event("order.placed"))
async def reserve(order: Order, ctx: Context) -> None:
    """The event's data is the payload, checked like any other."""
    ctx.logger.info("reserved: %d x %s", order.count, order.item)


@office.function(on.event("order.*"))
async def count(event: Event[Order], ctx: Context) -> None:
    """An `Event` has the attributes too: its type, subject, source, id and time."""
    ctx.logger.info("counted: %s of %s", event.type, event.subject)


@office.function(on.event("#"))
async def audit(event: Event[Any], ctx: Context) -> None:
    """Everything that ever happens."""
    ctx.logger.info("written down: %s from %s", event.type, event.source)
