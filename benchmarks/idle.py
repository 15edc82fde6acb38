"""A service with nothing to do."""

from __future__ import annotations

from benchmarks.order import Order
from eventmesh import Service

app = Service("idle")


@app.function
async def handle(_: Order) -> None:
    """Never called."""
