"""eventmesh with its defaults, and a client."""

from __future__ import annotations

import asyncio

import uvloop

from benchmarks.cluster.telling import DELAY, FirstAttemptFails, call_all, handled
from eventmesh import Client, Context, Retry, Service
from eventmesh.brokers.registry import open_broker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

# Nothing in AMQP tells what is behind a load balancer.
CLUSTER = "?cluster=true"

service = Service("cluster")


@service.function
async def now(number: int) -> None:
    handled("asynchronous", number)


@service.function
async def later(number: int) -> None:
    handled("delayed", number)


@service.function(retry=Retry(10, initial=1))
async def again(number: int, ctx: Context) -> None:
    if ctx.attempt == 1:
        raise FirstAttemptFails
    handled("retried", number)


def work(url: str) -> None:
    async def main() -> None:
        async with (
            open_broker(url + CLUSTER, "cluster") as broker,
            host_services([service], broker, Settings(), http=None),
        ):
            await asyncio.Event().wait()

    uvloop.run(main())


def call(url: str) -> None:
    async def main() -> None:
        async with Client(url + CLUSTER) as client:
            await call_all(
                {
                    "asynchronous": lambda one: client.send("cluster.now", {"number": one}),
                    "delayed": lambda one: client.send(
                        "cluster.later", {"number": one}, delay=DELAY
                    ),
                    "retried": lambda one: client.send("cluster.again", {"number": one}),
                }
            )

    uvloop.run(main())
