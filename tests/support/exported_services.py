"""Two services of which deployments are written: one with a route, and one with a queue."""

ORDERS = """
from eventmesh import Service, on

orders = Service("Order_Desk", calls=[], emits=[])

@orders.function(on.post("/orders"), timeout=60, concurrency=20)
async def place() -> None: ...
"""
STOCK = """
from eventmesh import Service, on

stock = Service("stock", calls=[], emits=[])

@stock.function(on.queue("deliveries"), concurrency=10)
async def reserve(order: str) -> None: ...
"""
