"""aiormq by hand: the library below aio-pika; nothing waits for the socket to drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast
from uuid import uuid4

import uvloop
from aiormq import Channel, Connection, spec
from aiormq.abc import DeliveredMessage

from benchmarks.job import Job, Tally, publish_all, report, request_all
from benchmarks.order import BODY, ORDER, Order

PREFETCH = 500
REPLY_TO = "amq.rabbitmq.reply-to"
PERSISTENT = 2


@asynccontextmanager
async def _channel(job: Job, *, confirms: bool = False) -> AsyncGenerator[Channel]:
    async with Connection(job.url) as connection:
        # Its interface leaves out what `wait` is: the class has it.
        channel = cast(Channel, await connection.channel(publisher_confirms=confirms))
        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.queue_declare(job.queue, durable=True)
        yield channel


def consume(job: Job) -> None:
    tally = Tally(job.count)

    async def main() -> None:
        async with _channel(job) as channel:

            async def handle(message: DeliveredMessage) -> None:
                Order.model_validate_json(message.body)
                tally.one()
                await channel.basic_ack(message.delivery_tag or 0, wait=False)

            await channel.basic_consume(job.queue, handle)
            await asyncio.Event().wait()

    uvloop.run(main())


def serve(job: Job) -> None:
    async def main() -> None:
        async with _channel(job) as channel:

            async def handle(message: DeliveredMessage) -> None:
                order = Order.model_validate_json(message.body)
                asked = message.header.properties
                await channel.basic_publish(
                    order.model_dump_json().encode(),
                    routing_key=asked.reply_to or "",
                    properties=spec.Basic.Properties(correlation_id=asked.correlation_id),
                    wait=False,
                )
                await channel.basic_ack(message.delivery_tag or 0, wait=False)

            await channel.basic_consume(job.queue, handle)
            report()
            await asyncio.Event().wait()

    uvloop.run(main())


def request(job: Job) -> None:
    waiting: dict[str, asyncio.Future[bytes]] = {}

    async def take(message: DeliveredMessage) -> None:
        waiting.pop(message.header.properties.correlation_id or "").set_result(message.body)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with _channel(job) as channel:
            await channel.basic_consume(REPLY_TO, take, no_ack=True)

            async def ask() -> None:
                id = uuid4().hex
                waiting[id] = answer = loop.create_future()
                await channel.basic_publish(
                    ORDER.model_dump_json().encode(),
                    routing_key=job.queue,
                    properties=spec.Basic.Properties(correlation_id=id, reply_to=REPLY_TO),
                    wait=False,
                )
                Order.model_validate_json(await answer)

            await request_all(ask, job)

    uvloop.run(main())


def publish(job: Job) -> None:
    async def main() -> None:
        async with _channel(job, confirms=True) as channel:

            async def send() -> None:
                await channel.basic_publish(
                    BODY,
                    routing_key=job.queue,
                    properties=spec.Basic.Properties(delivery_mode=PERSISTENT),
                    wait=False,
                )

            await publish_all(send, job)

    uvloop.run(main())
