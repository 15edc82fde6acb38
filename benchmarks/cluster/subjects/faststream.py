"""FastStream: quorum queues; what fails goes back to its queue. It has no delays over RabbitMQ."""

from __future__ import annotations

import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitMessage, RabbitQueue

from benchmarks.cluster.telling import FirstAttemptFails, call_all, handled

NOW = RabbitQueue("faststream.now", queue_type=QueueType.QUORUM, durable=True)
AGAIN = RabbitQueue("faststream.again", queue_type=QueueType.QUORUM, durable=True)


def _broker(url: str) -> RabbitBroker:
    channel = Channel(prefetch_count=10, on_return_raises=True)
    return RabbitBroker(url, logger=None, default_channel=channel)


def work(url: str) -> None:
    broker = _broker(url)

    @broker.subscriber(NOW, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def now(number: int) -> None:
        handled("asynchronous", number)

    @broker.subscriber(AGAIN, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def again(number: int, message: RabbitMessage) -> None:
        if not message.raw_message.redelivered:
            raise FirstAttemptFails
        handled("retried", number)

    uvloop.run(FastStream(broker, logger=None).run())


def call(url: str) -> None:
    async def main() -> None:
        async with _broker(url) as broker:
            for queue in (NOW, AGAIN):
                await broker.declare_queue(queue)
            await call_all(
                {
                    "asynchronous": lambda one: broker.publish(one, NOW, persist=True),
                    "retried": lambda one: broker.publish(one, AGAIN, persist=True),
                }
            )

    uvloop.run(main())
