"""The roles of the bare protocol: the yardstick of what is possible."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import uvloop
from pamqp import commands, frame

from benchmarks.bare import CORRELATION, REPLY, Bare, Take
from benchmarks.job import Job, Tally, report, request_all
from benchmarks.order import BODY, ORDER, Order

PREFETCH = 2000
WINDOW = 1000
REPLY_TO = "amq.rabbitmq.reply-to"

# Properties as they are on the wire: a persistent JSON message; the reply address.
STORED_FLAGS, STORED = 0x9000, b"\x10application/json\x02"
ANSWER_TO = bytes([len(REPLY_TO)]) + REPLY_TO.encode()


def _ignore(*_: bytes) -> None:
    """Ignores deliveries: a publisher gets none."""


@asynccontextmanager
async def _connected(
    job: Job, take: Take = _ignore, *, acknowledges: bool = False
) -> AsyncGenerator[Bare]:
    url = urlsplit(job.url)
    transport, bare = await asyncio.get_running_loop().create_connection(
        lambda: Bare(take, acknowledges=acknowledges), url.hostname or "", url.port or 5672
    )
    login = f"\0{unquote(url.username or 'guest')}\0{unquote(url.password or 'guest')}"
    await bare.call(channel=0)
    await bare.call(commands.Connection.StartOk({}, "PLAIN", login, "en_US"), channel=0)
    virtual_host = unquote(url.path[1:]) or "/"
    await bare.call(
        commands.Connection.TuneOk(2047, 131072, 0),
        commands.Connection.Open(virtual_host),
        channel=0,
    )
    await bare.call(commands.Channel.Open())
    try:
        yield bare
    finally:
        transport.close()


async def _consume(bare: Bare, queue: str) -> None:
    await bare.call(commands.Queue.Declare(queue=queue, durable=True))
    await bare.call(commands.Basic.Qos(prefetch_count=PREFETCH))
    await bare.call(commands.Basic.Consume(queue=queue))


def _publish_to(queue: str) -> bytes:
    return frame.marshal(commands.Basic.Publish(routing_key=queue), 1)


async def _store(job: Job) -> float:
    """How many orders a second were stored and confirmed, a window of them on their way."""
    async with _connected(job) as bare:
        await bare.call(commands.Queue.Declare(queue=job.queue, durable=True))
        await bare.call(commands.Confirm.Select())
        method = _publish_to(job.queue)
        started = time.perf_counter()
        for number in range(1, job.count + 1):
            bare.unconfirmed[number] = None
            bare.publish(method, STORED_FLAGS, STORED, BODY)
            while len(bare.unconfirmed) >= (WINDOW if number < job.count else 1):
                bare.confirmed.clear()
                await bare.confirmed.wait()
        return job.count / (time.perf_counter() - started)


def fill(job: Job) -> None:
    uvloop.run(_store(job))


def publish(job: Job) -> None:
    report(rate=uvloop.run(_store(job)))


def consume(job: Job) -> None:
    tally = Tally(job.count)

    def take(body: bytes, *_: bytes) -> None:
        Order.model_validate_json(body)
        tally.one()

    async def main() -> None:
        async with _connected(job, take, acknowledges=True) as bare:
            await _consume(bare, job.queue)
            await asyncio.Event().wait()

    uvloop.run(main())


def serve(job: Job) -> None:
    async def main() -> None:
        def answer(body: bytes, correlation_id: bytes, reply_to: bytes) -> None:
            order = Order.model_validate_json(body)
            properties = bytes([len(correlation_id)]) + correlation_id
            method = _publish_to(reply_to.decode())
            bare.publish(method, CORRELATION, properties, order.model_dump_json().encode())

        async with _connected(job, answer, acknowledges=True) as bare:
            await _consume(bare, job.queue)
            report()
            await asyncio.Event().wait()

    uvloop.run(main())


def request(job: Job) -> None:
    numbers = itertools.count()
    waiting: dict[bytes, asyncio.Future[bytes]] = {}

    def take(body: bytes, correlation_id: bytes, _: bytes) -> None:
        waiting.pop(correlation_id).set_result(body)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with _connected(job, take) as bare:
            await bare.call(commands.Basic.Consume(queue=REPLY_TO, no_ack=True))
            method = _publish_to(job.queue)

            async def ask() -> None:
                id = b"%d" % next(numbers)
                waiting[id] = answer = loop.create_future()
                body = ORDER.model_dump_json().encode()
                bare.publish(method, CORRELATION | REPLY, bytes([len(id)]) + id + ANSWER_TO, body)
                Order.model_validate_json(await answer)

            await request_all(ask, job)

    uvloop.run(main())
