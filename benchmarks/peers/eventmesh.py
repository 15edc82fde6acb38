"""eventmesh: a function invoked by its name, and the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.job import Job, Tally, in_parallel, publish_all, report, request_all
from benchmarks.order import Order, order_of
from eventmesh import Client, Service
from eventmesh.brokers.registry import open_broker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import inbox

CONCURRENCY = 500


def fill(job: Job) -> None:
    async def send(client: Client) -> None:
        order = order_of(job.size)
        await in_parallel(lambda: client.send(f"{job.queue}.handle", order), job)

    _call(job, send)


def consume(job: Job) -> None:
    app = Service(job.queue)
    tally = Tally(job.count)

    async def handle(_: Order) -> None:
        tally.one()

    async def handle_slowly(_: Order) -> None:
        await asyncio.sleep(job.wait)
        tally.one()

    if job.wait:
        app.function(name="handle", concurrency=job.in_flight)(handle_slowly)
    else:
        app.function(concurrency=CONCURRENCY)(handle)
    host(app, job.url)


def serve(job: Job) -> None:
    app = Service(job.queue)

    @app.function(concurrency=CONCURRENCY)
    async def handle(order: Order) -> Order:
        return order

    host(app, job.url)


def request(job: Job) -> None:
    async def invoke(client: Client) -> None:
        order = order_of(job.size)
        await request_all(lambda: client.invoke(f"{job.queue}.handle", order, returns=Order), job)

    _call(job, invoke)


def publish(job: Job) -> None:
    async def send(client: Client) -> None:
        order = order_of(job.size)
        await publish_all(lambda: client.send(f"{job.queue}.handle", order), job)

    _call(job, send)


def host(app: Service, url: str) -> None:
    """Run a service until the process is killed, as a worker of the launcher does."""

    async def main() -> None:
        async with (
            open_broker(url, "bench") as broker,
            host_services([app], broker, Settings(), http=None),
        ):
            report()
            await asyncio.Event().wait()

    uvloop.run(main())


def _call(job: Job, work: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        # A name with no inbox is refused, and no host may have declared it yet.
        async with open_broker(job.url, "bench") as broker:
            await broker.declare([inbox(f"{job.queue}.handle")])
        async with Client(job.url) as client:
            await work(client)

    uvloop.run(main())
