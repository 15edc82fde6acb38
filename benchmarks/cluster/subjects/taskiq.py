"""Taskiq over aio-pika: quorum queues, its delay queue, and its middleware that retries."""

from __future__ import annotations

from typing import Annotated

import uvloop
from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends
from taskiq.acks import AcknowledgeType
from taskiq.api import run_receiver_task
from taskiq_aio_pika import AioPikaBroker, Queue, QueueType

from benchmarks.cluster.telling import DELAY, FirstAttemptFails, call_all, handled

RETRIES = "_retries"
"""The label by which the middleware counts."""


def _broker(url: str) -> AioPikaBroker:
    broker = AioPikaBroker(
        url,
        qos=10,
        delay_queue=Queue(name="taskiq.delay", type=QueueType.QUORUM),
    ).with_queue(Queue(name="taskiq.cluster", type=QueueType.QUORUM))
    broker.add_middlewares(SimpleRetryMiddleware(default_retry_count=10))

    @broker.task("now")
    async def now(number: int) -> None:
        handled("asynchronous", number)

    @broker.task("later")
    async def later(number: int) -> None:
        handled("delayed", number)

    @broker.task("again", retry_on_error=True)
    async def again(number: int, context: Annotated[Context, TaskiqDepends()]) -> None:
        if RETRIES not in context.message.labels:
            raise FirstAttemptFails
        handled("retried", number)

    return broker


def work(url: str) -> None:
    async def main() -> None:
        broker = _broker(url)
        broker.is_worker_process = True
        await run_receiver_task(broker, run_startup=True, ack_time=AcknowledgeType.WHEN_EXECUTED)

    uvloop.run(main())


def call(url: str) -> None:
    async def main() -> None:
        broker = _broker(url)
        now, later, again = (broker.find_task(name) for name in ("now", "later", "again"))
        assert now is not None
        assert later is not None
        assert again is not None
        await broker.startup()
        await call_all(
            {
                "asynchronous": now.kiq,
                "delayed": later.kicker().with_labels(delay=DELAY).kiq,
                "retried": again.kiq,
            }
        )

    uvloop.run(main())
