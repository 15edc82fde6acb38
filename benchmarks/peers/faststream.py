"""FastStream, as `faststream run` runs it: uvloop, no log line a message."""

from __future__ import annotations

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from benchmarks.job import Job, Tally, publish_all, report, request_all
from benchmarks.order import ORDER, Order

PREFETCH = 500


def _broker(job: Job) -> RabbitBroker:
    return RabbitBroker(job.url, logger=None, default_channel=Channel(prefetch_count=PREFETCH))


def consume(job: Job) -> None:
    broker = _broker(job)
    tally = Tally(job.count)

    @broker.subscriber(RabbitQueue(job.queue, durable=True))
    async def handle(_: Order) -> None:
        tally.one()

    uvloop.run(FastStream(broker, logger=None).run())


def serve(job: Job) -> None:
    broker = _broker(job)

    @broker.subscriber(RabbitQueue(job.queue, durable=True))
    async def handle(order: Order) -> Order:
        return order

    # FastStream would inject its own context into `report` itself.
    uvloop.run(FastStream(broker, logger=None, after_startup=[lambda: report()]).run())  # noqa: PLW0108


def request(job: Job) -> None:
    async def main() -> None:
        async with _broker(job) as broker:

            async def ask() -> None:
                answer = await broker.request(ORDER, job.queue, timeout=30)
                Order.model_validate_json(answer.body)

            await request_all(ask, job)

    uvloop.run(main())


def publish(job: Job) -> None:
    async def main() -> None:
        async with _broker(job) as broker:
            await broker.declare_queue(RabbitQueue(job.queue, durable=True))
            await publish_all(lambda: broker.publish(ORDER, job.queue, persist=True), job)

    uvloop.run(main())
