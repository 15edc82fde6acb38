"""faststream-outbox before FastStream's RabbitMQ, as its documentation has a relay."""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from faststream_outbox import OutboxBroker, make_outbox_table
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from benchmarks.durable import STORE
from benchmarks.job import Job, report
from benchmarks.order import Order
from benchmarks.outbox import INSERT, TABLE
from benchmarks.outbox.arrivals import Arrivals, measure_arrivals

PREFETCH = 500
STORED = "orders"

CONNECTIONS = 20
"""For transactions: as many as eventmesh opens for everything."""

RELAYED_AT_ONCE = 20
CONNECTIONS_OF_RELAY = 2 * RELAYED_AT_ONCE
"""It needs one for each worker, and one more, as long as it runs."""

FETCHED = 100
SHORTEST_PAUSE = 0.01
"""By default it relays one at a time, fetches ten, and waits for a second between two."""


async def main(job: Job) -> None:
    metadata, arrivals = MetaData(), Arrivals()
    table = make_outbox_table(metadata, table_name="outbox")
    url = os.environ[STORE].replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, pool_size=CONNECTIONS, max_overflow=0)
    relaying = create_async_engine(url, pool_size=CONNECTIONS_OF_RELAY, max_overflow=0)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(text(TABLE))
    outbox = OutboxBroker(relaying, outbox_table=table, logger=None)
    rabbit = RabbitBroker(job.url, logger=None, default_channel=Channel(prefetch_count=PREFETCH))
    # The kind of queue that eventmesh has.
    queue = RabbitQueue(job.queue, durable=True, queue_type=QueueType.QUORUM)

    @rabbit.publisher(queue, persist=True)
    @outbox.subscriber(
        STORED,
        max_workers=RELAYED_AT_ONCE,
        fetch_batch_size=FETCHED,
        min_fetch_interval=SHORTEST_PAUSE,
    )
    async def relay(order: Order) -> Order:
        return order

    @rabbit.subscriber(queue)
    async def handle(order: Order) -> None:
        arrivals.handle(order.id)

    sessions = async_sessionmaker(engine, expire_on_commit=False)

    # Called as it is: requests of one FastStream broker wait for each other's replies.
    async def place(order: Order) -> None:
        async with sessions() as session, session.begin():
            await session.execute(text(INSERT), {"id": order.id})
            await outbox.publish(order, queue=STORED, session=session)
        arrivals.commit(order.id)

    async with rabbit, outbox:
        await rabbit.start()
        await outbox.start()
        report(**await measure_arrivals(place, arrivals, job))
        await asyncio.Event().wait()


uvloop.run(main(Job.load(sys.argv[1])))
