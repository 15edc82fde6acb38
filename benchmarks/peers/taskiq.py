"""Taskiq over aio-pika: one worker, orjson, acknowledged when executed."""

from __future__ import annotations

import uvloop
from taskiq import AsyncTaskiqDecoratedTask
from taskiq.acks import AcknowledgeType
from taskiq.api import run_receiver_task
from taskiq.serializers import ORJSONSerializer
from taskiq_aio_pika import AioPikaBroker, Queue, QueueType

from benchmarks.job import Job, Tally, in_parallel, publish_all
from benchmarks.order import ORDER, Order

PREFETCH = 500


def _task(job: Job) -> tuple[AioPikaBroker, AsyncTaskiqDecoratedTask[[Order], None]]:
    queue = Queue(name=job.queue, type=QueueType.CLASSIC)
    broker = AioPikaBroker(job.url, qos=PREFETCH).with_queue(queue)
    broker = broker.with_serializer(ORJSONSerializer())
    tally = Tally(job.count)

    @broker.task("handle")
    async def handle(order: Order) -> None:
        assert isinstance(order, Order)
        tally.one()

    return broker, handle


def fill(job: Job) -> None:
    async def main() -> None:
        broker, handle = _task(job)
        await broker.startup()
        await in_parallel(lambda: handle.kiq(ORDER), job)
        await broker.shutdown()

    uvloop.run(main())


def consume(job: Job) -> None:
    async def main() -> None:
        broker, _ = _task(job)
        await run_receiver_task(
            broker,
            run_startup=True,
            max_async_tasks=PREFETCH,
            ack_time=AcknowledgeType.WHEN_EXECUTED,
        )

    uvloop.run(main())


def publish(job: Job) -> None:
    async def main() -> None:
        broker, handle = _task(job)
        await broker.startup()
        await publish_all(lambda: handle.kiq(ORDER), job)
        await broker.shutdown()

    uvloop.run(main())
