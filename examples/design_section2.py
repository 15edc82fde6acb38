# ruff: noqa: E501 - its functions stand here exactly as the design has them
"""The service that the design document shows, with the models and the services that it needs.

Run it:   eventmesh dev examples/design_section2.py
Fire it:  curl http://127.0.0.1:8080/orders -H 'Content-Type: application/json' \
              -d '{"item": "tea", "count": 3}'
          eventmesh send queue:invoices '{"number": 7, "total": 12.5}'
          eventmesh emit payment.received '{"invoice": 7}'
"""

from pydantic import BaseModel

from eventmesh import Context, Event, Retry, Service, on

pricing = Service("pricing")
mailer = Service("mailer")


class Order(BaseModel):
    item: str
    count: int = 1


class Quote(BaseModel):
    total: float


class Receipt(BaseModel):
    total: float


class Invoice(BaseModel):
    number: int
    total: float


# fmt: off
orders = Service("orders")

@orders.function(on.post("/orders"), timeout=5, concurrency=100)
async def place_order(order: Order, ctx: Context) -> Receipt:
    quote = await ctx.invoke("pricing.quote", order, returns=Quote)   # synchronous: waits for the result
    await ctx.send("mailer.receipt", quote, delay=30)                 # asynchronous: stored, then delivered
    await ctx.emit("order.placed", order)                             # an event: whoever subscribed gets it
    return Receipt(total=quote.total)

@orders.function(on.queue("invoices", batch=50, batch_window=0.2), retry=Retry(attempts=5, initial=1, maximum=60))
async def import_invoices(invoices: list[Invoice]) -> None: ...

@orders.function(on.event("payment.*"), on.cron("0 3 * * *", tz="Europe/Berlin"), reserved_concurrency=4)
async def reconcile(event: Event) -> None: ...
# fmt: on


@pricing.function
async def quote(order: Order) -> Quote:
    return Quote(total=4.0 * order.count)


@mailer.function
async def receipt(quote: Quote, ctx: Context) -> None:
    ctx.logger.info("a receipt over %.2f", quote.total)
