"""Repid over AMQP 1.0: RabbitMQ 4 and newer."""

from __future__ import annotations

import uvloop
from aiormq import Connection
from repid import AmqpServer, Repid, Router
from repid.connections.amqp import AmqpMessageHeader

from benchmarks.job import Job, Tally, in_parallel
from benchmarks.order import ORDER, Order

CONCURRENCY = 500


def _app(job: Job) -> Repid:
    app = Repid()
    app.servers.register_server("default", AmqpServer(job.url), is_default=True)
    return app


def fill(job: Job) -> None:
    app = _app(job)
    payload = {"order": ORDER.model_dump()}

    async def send() -> None:
        await app.send_message_json(
            channel=job.queue,
            payload=payload,
            headers={"topic": "handle"},
            server_specific_parameters={"header": AmqpMessageHeader(durable=True)},
        )

    async def main() -> None:
        # It declares no queues itself; the same port speaks AMQP 0-9-1 too.
        async with Connection(job.url) as connection:
            await (await connection.channel()).queue_declare(job.queue, durable=True)
        async with app.servers.default.connection():
            await in_parallel(send, job)

    uvloop.run(main())


def consume(job: Job) -> None:
    app, router, tally = _app(job), Router(), Tally(job.count)

    @router.actor(channel=job.queue)
    async def handle(order: Order) -> None:
        assert isinstance(order, Order)
        tally.one()

    app.include_router(router)

    async def main() -> None:
        async with app.servers.default.connection():
            await app.run_worker(tasks_limit=CONCURRENCY)

    uvloop.run(main())
