"""eventmesh on the same kind of queue as its peers: a classic one."""

from __future__ import annotations

import aio_pika
import uvloop

from benchmarks.job import Job, Tally, publish_all
from benchmarks.order import Order, order_of
from benchmarks.peers.eventmesh import CONCURRENCY, host
from eventmesh import Client, Service, on
from eventmesh.model.topology import inbox


def consume(job: Job) -> None:
    """Take plain JSON from the peers' own queue."""
    app = Service(job.queue)
    tally = Tally(job.count)

    @app.function(on.queue(job.queue, declare=False), concurrency=CONCURRENCY)
    async def handle(_: Order) -> None:
        tally.one()

    host(app, job.url)


def publish(job: Job) -> None:
    """Send to a function whose inbox is not the quorum queue that eventmesh would have made."""
    function = f"{job.queue}.handle"

    async def main() -> None:
        async with await aio_pika.connect(job.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue(inbox(function).name, durable=True)
        order = order_of(job.size)
        async with Client(job.url) as client:
            await publish_all(lambda: client.send(function, order), job)

    uvloop.run(main())
