"""A process with a store that dies at a given point of its work: a statement, a commit, a publish.

Points are counted before and after each of these, and also around the acknowledgement of a
delivery, from when the first handler runs. What only holds leases, or notes what became of an
invocation, is no point. At the point `die_at` the process ends as if it had been killed.
"""

import asyncio
import ctypes
import os
import re
import signal

from sqlalchemy import Engine, event, text
from sqlalchemy.dialects.postgresql import asyncpg as driver  # noqa: F401 - loaded before the fork

from eventmesh import Context, Service
from eventmesh.brokers.rabbitmq.broker import RabbitBroker
from eventmesh.brokers.rabbitmq.datapath import consumer
from eventmesh.brokers.registry import open_broker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.store import service_store  # noqa: F401 - loaded before the fork
from eventmesh.store.outbox import relay  # noqa: F401 - loaded before the fork

DIED = 9
COPIES = 2
_PR_SET_PDEATHSIG = 1

_LEASES = re.compile("eventmesh_lanes|eventmesh_relays|eventmesh_results|clock_timestamp|count")
_armed = asyncio.Event()


def build_services(suffix):
    """An order is written, and each of its lines is booked by another function."""
    orders = Service(f"orders{suffix}")
    booking = Service(f"booking{suffix}")

    @orders.function
    async def place(number: int, ctx: Context) -> None:
        _armed.set()
        async with ctx.transaction() as session:
            await session.execute(text("INSERT INTO placed VALUES (:n)"), {"n": number})
            for line in range(COPIES):
                await ctx.send(f"booking{suffix}.book", {"number": number, "line": line})

    @booking.function(concurrency=1)
    async def book(number: int, line: int, ctx: Context) -> None:
        async with ctx.transaction() as session:
            await session.execute(
                text("INSERT INTO booked VALUES (:n, :line)"), {"n": number, "line": line}
            )

    return [orders, booking]


def run(store_url, broker_url, suffix, die_at, up):
    """Run the services until SIGTERM, or until they die at a point; 0 for none."""
    # Children of a fork server outlive the tests otherwise, if these are killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if die_at:
        _count_points(die_at)
    asyncio.run(_serve(store_url, broker_url, suffix, up))


async def _serve(store_url, broker_url, suffix, up):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        open_broker(broker_url, "dying") as broker,
        host_services(
            build_services(suffix), broker, Settings(store=store_url, http_port=0), http=None
        ),
    ):
        if up is not None:
            up.set()
        await stop.wait()


def _count_points(die_at):
    count = 0

    def point(*_args, **_kwargs):
        nonlocal count
        count += _armed.is_set()
        if count == die_at:
            os._exit(DIED)

    def statement_point(_connection, _cursor, statement, *_rest):
        if not _LEASES.search(statement):
            point()

    for name in ("before_cursor_execute", "after_cursor_execute"):
        event.listen(Engine, name, statement_point)
    event.listen(Engine, "commit", point)
    publish, ack = RabbitBroker.publish, consumer.RabbitDelivery.ack

    async def publish_between(*args, **kwargs):
        point()
        await publish(*args, **kwargs)
        point()

    def ack_between(delivery):
        point()
        ack(delivery)
        point()

    RabbitBroker.publish = publish_between
    consumer.RabbitDelivery.ack = ack_between
