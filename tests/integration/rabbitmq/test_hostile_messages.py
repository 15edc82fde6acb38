"""Messages that cannot be stored again as they came, on a real node: each of them ends."""

import asyncio
from struct import pack

import pytest
from waiting import PAUSE

from eventmesh import Retry, RetryLater, Service
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.host import host_services
from eventmesh.model.message import MAX_BODY, Message
from eventmesh.model.settings import Settings
from eventmesh.model.topology import inbox, rpc_queue, to_queue

BINARY = b"\xff" + b"\xfe" * 255
"""A short string of 255 bytes, none of which is UTF-8."""


def with_headers(entries):
    return b"\x20\0" + len(entries).to_bytes(4, "big") + entries


HOSTILE = {
    "ids": b"\x86\xa8" + BINARY * 6,
    "attempt": with_headers(b"\x0aem-attemptL" + pack(">q", 2**62)),
    "name": with_headers(BINARY + b"t\1"),
    "text": with_headers(b"\x01hS" + pack(">I", 120_000) + b"\xff" * 120_000),
    "trigger": with_headers(b"\x0aem-triggerS" + pack(">I", 120_000) + b"\xff" * 120_000),
}


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


@pytest.fixture
async def publish(url):
    """Publishes bytes as properties; RabbitMQ takes them as they are."""
    connection = await connect(parse_address(url), "hostile")
    channel = await connection.open_channel()

    def publish(queue, properties, body=b"{}"):
        target = publish_target("", queue.name, mandatory=True)
        channel.publish_unconfirmed(target, properties, body)

    yield publish
    await connection.close()


@pytest.fixture
async def broker(url):
    async with RabbitBroker(url, connect_timeout=30) as broker:
        yield broker


def running(app, broker):
    return host_services([app], broker, Settings(grace=5), http=None)


async def dead_letters_of(broker, function, count):
    letters = BrokerDeadLetters(broker, SystemClock())
    async with asyncio.timeout(60):
        while len(found := await letters.list(function)) < count:
            await asyncio.sleep(PAUSE)
    assert len(found) == count
    return found


@pytest.fixture
def app():
    app = Service("app")

    @app.function(retry=Retry(2, initial=0.1))
    async def fail() -> None:
        raise ValueError("no")

    @app.function(retry=Retry(5, max_age="400d"))
    async def next_year() -> None:
        raise RetryLater(after=320 * 24 * 3600)

    @app.function
    async def answer() -> int:
        return 42

    return app


async def test_whatever_is_in_a_message_it_ends_as_a_dead_letter(app, broker, publish):
    async with running(app, broker) as host:
        for properties in HOSTILE.values():
            publish(inbox("app.fail"), properties)
        dead = await dead_letters_of(broker, "app.fail", len(HOSTILE))
        assert {letter.payload for letter in dead} == {b"{}"}
        assert await broker.depth(inbox("app.fail")) == 0
        assert await host.caller.invoke("app.answer") == 42


async def test_a_body_that_cannot_be_stored_again_leaves_a_dead_letter_without_it(
    app, broker, publish
):
    async with running(app, broker):
        publish(inbox("app.fail"), b"\0\0", bytes(MAX_BODY + 1))
        (dead,) = await dead_letters_of(broker, "app.fail", 1)
    assert dead.payload == b""
    assert "the payload has 16,777,217 bytes" in dead.reason


async def test_a_reply_to_that_is_no_text_takes_nobody_down(app, broker, publish):
    async with running(app, broker) as host:
        publish(rpc_queue("app.answer", 100), b"\x06\0" + BINARY * 2)
        assert await host.caller.invoke("app.answer") == 42


async def test_a_delay_that_is_too_long_sets_the_message_aside(app, broker):
    async with running(app, broker) as host:
        await host.caller.send("app.next_year")
        (dead,) = await dead_letters_of(broker, "app.next_year", 1)
    assert "is over the longest" in dead.reason


async def test_headers_by_which_rabbitmq_routes_are_left_out(broker):
    await broker.declare([inbox("app.fail")])
    message = Message(b"{}", "m", 1.0, headers={"CC": "em.inbox.app.fail", "BCC": "x", "y": "z"})
    await broker.publish(to_queue(inbox("app.fail")), message)
    delivery = await broker.get(inbox("app.fail"))
    assert delivery.message.headers == {"y": "z"}
