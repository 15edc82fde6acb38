"""aio-pika by hand: no framework, one callback and one acknowledgement a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import uvloop
from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from benchmarks.job import Job, Tally, publish_all, report, request_all
from benchmarks.order import BODY, ORDER, Order

PREFETCH = 500


@asynccontextmanager
async def _channel(job: Job) -> AsyncGenerator[tuple[AbstractChannel, AbstractQueue]]:
    async with await connect(job.url) as connection, connection.channel() as channel:
        await channel.set_qos(prefetch_count=PREFETCH)
        yield channel, await channel.declare_queue(job.queue, durable=True)


def consume(job: Job) -> None:
    tally = Tally(job.count)

    async def handle(message: AbstractIncomingMessage) -> None:
        Order.model_validate_json(message.body)
        tally.one()
        await message.ack()

    async def main() -> None:
        async with _channel(job) as (_, queue):
            await queue.consume(handle)
            await asyncio.Event().wait()

    uvloop.run(main())


def serve(job: Job) -> None:
    async def main() -> None:
        async with _channel(job) as (_, queue), await connect(job.url) as connection:
            replies = (await connection.channel(publisher_confirms=False)).default_exchange

            async def handle(message: AbstractIncomingMessage) -> None:
                order = Order.model_validate_json(message.body)
                reply = Message(
                    order.model_dump_json().encode(), correlation_id=message.correlation_id
                )
                await replies.publish(reply, message.reply_to or "")
                await message.ack()

            await queue.consume(handle)
            report()
            await asyncio.Event().wait()

    uvloop.run(main())


def request(job: Job) -> None:
    waiting: dict[str, asyncio.Future[bytes]] = {}

    async def take(message: AbstractIncomingMessage) -> None:
        waiting.pop(message.correlation_id or "").set_result(message.body)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with await connect(job.url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            replies = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
            await replies.consume(take, no_ack=True)

            async def ask() -> None:
                id = uuid4().hex
                waiting[id] = answer = loop.create_future()
                message = Message(
                    ORDER.model_dump_json().encode(),
                    correlation_id=id,
                    reply_to="amq.rabbitmq.reply-to",
                )
                await channel.default_exchange.publish(message, job.queue)
                Order.model_validate_json(await answer)

            await request_all(ask, job)

    uvloop.run(main())


def publish(job: Job) -> None:
    async def main() -> None:
        async with _channel(job) as (channel, _):

            async def send() -> None:
                message = Message(BODY, delivery_mode=DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(message, job.queue)

            await publish_all(send, job)

    uvloop.run(main())
