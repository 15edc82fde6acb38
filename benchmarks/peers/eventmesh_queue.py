"""eventmesh, taking plain JSON from the same kind of queue as its peers do."""

from __future__ import annotations

from benchmarks.job import Job, Tally
from benchmarks.order import Order
from benchmarks.peers.eventmesh import CONCURRENCY, host
from eventmesh import Service, on


def consume(job: Job) -> None:
    app = Service(job.queue)
    tally = Tally(job.count)

    @app.function(on.queue(job.queue, declare=False), concurrency=CONCURRENCY)
    async def handle(_: Order) -> None:
        tally.one()

    host(app, job.url)
