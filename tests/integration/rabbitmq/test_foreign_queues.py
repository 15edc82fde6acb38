"""A queue of another system as a source: its own arguments, and messages of all kinds."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import aio_pika
import pytest
from pydantic import BaseModel
from waiting import PAUSE

from eventmesh import Context, Retry, Service, on
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.host import host_services
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.settings import Settings
from eventmesh.model.topology import inbox, named

KINDS = {
    "classic": {"x-queue-type": "classic", "x-max-length": 100, "x-overflow": "drop-head"},
    "quorum": {"x-queue-type": "quorum", "x-delivery-limit": 7},
}

HEADERS = {
    "text": "text",
    "true": True,
    "number": 2**40,
    "float": 1.5,
    "decimal": Decimal("1.25"),
    "date": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
    "bytes": bytearray(b"\xff\x00"),
    "table": {"inner": [1, "two", None]},
    "none": None,
}

FITTING = [
    aio_pika.Message(b'{"sku": "bare"}'),
    aio_pika.Message(b'{"sku": "text"}', content_type="text/plain"),
    aio_pika.Message(b'{"sku": "bytes"}', content_type="application/octet-stream"),
    aio_pika.Message(b'{"sku": "headers"}', headers=HEADERS, priority=9, app_id="theirs"),
]
OTHERS = [
    aio_pika.Message(b"\x82\xa3sku\xa1a\xa1b\xc3", content_type="application/msgpack"),
    aio_pika.Message(b"<order/>", content_type="application/xml"),
    aio_pika.Message(b"", headers=HEADERS),
    aio_pika.Message(b'{"sku": ["not", "a", "text"]}', message_id="wrong"),
]
SKUS = {"bare", "text", "bytes", "headers"}


class Item(BaseModel):
    sku: str


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


@pytest.fixture
async def theirs(url):
    """The other system: a channel of its own."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


async def filled(channel, kind):
    await channel.declare_queue("theirs", durable=True, arguments=KINDS[kind])
    for pair in zip(FITTING, OTHERS, strict=True):
        for message in pair:
            await channel.default_exchange.publish(message, routing_key="theirs")


async def dead_letters_of(broker, function, count):
    letters = BrokerDeadLetters(broker, SystemClock())
    async with asyncio.timeout(60):
        while len(found := await letters.list(function)) < count:
            await asyncio.sleep(PAUSE)
    return found


async def running(url, app, came):
    """Run the service until all that fits came; say what was dead-lettered."""
    async with (
        RabbitBroker(url, connect_timeout=30) as broker,
        host_services([app], broker, Settings(grace=5), http=None),
        asyncio.timeout(60),
    ):
        seen = set()
        while seen != SKUS:
            seen.add(await came.get())
        return await dead_letters_of(broker, "app.take", len(OTHERS))


async def untouched(rabbitmq, url, kind):
    """Wait until their queue is empty, and as they made it."""
    async with asyncio.timeout(60):
        while True:
            row = (await rabbitmq.queues(url.rpartition("/")[2]))["theirs"]
            listed = row["arguments"]
            given = listed if isinstance(listed, dict) else {name: each for name, _, each in listed}
            assert given == KINDS[kind]
            # RabbitMQ counts the messages of a quorum queue every few seconds.
            if row["messages"] == 0:
                return


@pytest.mark.parametrize("kind", KINDS)
async def test_what_fits_is_handled_and_the_rest_is_dead_lettered(rabbitmq, url, theirs, kind):
    app, came, headers = Service("app"), asyncio.Queue(), {}

    @app.function(on.queue("theirs", declare=False), retry=Retry(2, initial=0.1))
    async def take(item: Item, ctx: Context) -> None:
        headers[item.sku] = dict(ctx.headers)
        if ctx.attempt == 1:
            raise ValueError("once more")
        came.put_nowait(item.sku)

    await filled(theirs, kind)
    letters = await running(url, app, came)
    assert sorted(letter.payload for letter in letters) == sorted(each.body for each in OTHERS)
    assert {letter.error_type for letter in letters} == {"payload_invalid"}
    assert {letter.attempts for letter in letters} == {1}
    assert headers["headers"].items() >= {"text": "text", "true": "true", "float": "1.5"}.items()
    await untouched(rabbitmq, url, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_in_batches_too(rabbitmq, url, theirs, kind):
    app, came = Service("app"), asyncio.Queue()

    @app.function(on.queue("theirs", batch=5, batch_window=0.05, declare=False))
    async def take(items: list[Item]) -> None:
        for item in items:
            came.put_nowait(item.sku)

    await filled(theirs, kind)
    letters = await running(url, app, came)
    assert sorted(letter.payload for letter in letters) == sorted(each.body for each in OTHERS)
    assert {letter.error_type for letter in letters} == {"payload_invalid"}
    await untouched(rabbitmq, url, kind)


async def test_it_has_to_be_there(url):
    app = Service("app")

    @app.function(on.queue("theirs", declare=False))
    async def take(item: Item) -> None: ...

    with pytest.RaisesGroup(
        pytest.RaisesExc(FunctionNotFound, match="'theirs'|declare=False"), flatten_subgroups=True
    ):
        async with (
            RabbitBroker(url, connect_timeout=30) as broker,
            host_services([app], broker, Settings(grace=5), http=None),
        ):
            pytest.fail("it started")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_kills_its_process_is_counted_in_the_inbox(rabbitmq, url, theirs, kind):
    """A classic queue counts nothing, and a quorum queue of others may drop it at its limit."""
    app, began, end = Service("app"), asyncio.Queue(), asyncio.Event()

    @app.function(on.queue("theirs", declare=False))
    async def take(item: Item, ctx: Context) -> None:
        began.put_nowait((item.sku, ctx.attempt, ctx.trigger, ctx.redeliveries))
        await end.wait()

    await theirs.declare_queue("theirs", durable=True, arguments=KINDS[kind])
    await theirs.default_exchange.publish(FITTING[0], routing_key="theirs")
    async with (
        RabbitBroker(url, connect_timeout=30) as broker,
        asyncio.timeout(60),
    ):
        taken = asyncio.Queue()
        async with broker.consume(named("theirs", declare=False), taken.put_nowait, prefetch=1):
            await taken.get()  # And killed with it.
        async with host_services([app], broker, Settings(grace=5), http=None):
            assert await began.get() == ("bare", 1, "queue", 1)
            # While it runs it is held by the inbox, not by their queue.
            await untouched(rabbitmq, url, kind)
            end.set()
        assert await broker.depth(inbox("app.take")) == 0
