"""Connections and channels that a real broker refuses, closes, blocks and leaves."""

import asyncio
from uuid import uuid4

import pytest
from pamqp import commands
from waiting import DEADLINE, PAUSE

from eventmesh.brokers.rabbitmq.amqp import frames, handshake
from eventmesh.brokers.rabbitmq.amqp.confirms import Returned
from eventmesh.model.errors import AccessDenied, BrokerUnavailable


async def test_a_password_that_is_wrong(rabbitmq_url, connecting):
    with pytest.raises(AccessDenied, match="403 ACCESS_REFUSED") as refused:
        async with connecting(rabbitmq_url.replace(":guest@", ":s3cr3t@")):
            pytest.fail("it was let in")
    assert "s3cr3t" not in f"{refused.value} {refused.value!r}"


async def test_a_virtual_host_that_is_not_there(rabbitmq_url, connecting):
    with pytest.raises(AccessDenied, match=r"530 NOT_ALLOWED.*vhost nowhere"):
        async with connecting(f"{rabbitmq_url.rpartition('/')[0]}/nowhere"):
            pytest.fail("it was let in")


async def test_a_virtual_host_that_the_user_may_not_use(rabbitmq, connecting):
    await rabbitmq.ctl("add_vhost", "closed")
    with pytest.raises(AccessDenied, match="530 NOT_ALLOWED"):
        async with connecting(f"{rabbitmq.url}closed"):
            pytest.fail("it was let in")


async def test_the_broker_shows_who_is_connected_and_for_how_long(rabbitmq, connecting):
    name = f"shop {uuid4().hex} (consuming)"
    async with connecting(rabbitmq.url, name) as connection:
        for _ in range(3):
            await connection.open_channel()
        rows = await rabbitmq.ctl("list_connections", "--silent", "client_properties")
        assert name in rows
    # RabbitMQ lists a connection for a moment after both sides have closed it.
    async with asyncio.timeout(DEADLINE):
        while name in await rabbitmq.ctl("list_connections", "--silent", "client_properties"):
            await asyncio.sleep(PAUSE)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (commands.Queue.Declare(queue="nowhere", passive=True), 404),
        (commands.Basic.Consume(queue="nowhere"), 404),
        (commands.Queue.Declare(queue="amq.reserved"), 403),
        (commands.Basic.Recover(requeue=False), 540),
    ],
)
async def test_a_call_that_is_refused_costs_no_more_than_it_must(connection, channel, call, code):
    """A channel for most; for what the broker does not implement, the connection."""
    with pytest.raises(BrokerUnavailable, match=f"{code} "):
        await channel.call(call)
    assert not channel.is_open
    if code == 540:
        assert "540 NOT_IMPLEMENTED" in connection.closed.result()
    else:
        assert (await connection.open_channel()).number == channel.number


async def test_an_answer_to_nothing_closes_the_channel_alone(connection, channel, soon):
    other = await connection.open_channel()
    channel.ack(7)
    assert "406 PRECONDITION_FAILED - unknown delivery tag 7" in await soon(channel.closed)
    await soon(other.call(commands.Confirm.Select()))


async def test_publishing_to_an_exchange_that_is_not_there(connection, channel, send, soon):
    confirmed = send(channel, "key", exchange="nowhere")
    with pytest.raises(BrokerUnavailable, match=r"404 NOT_FOUND.*may or may not be stored"):
        await soon(confirmed)
    assert not connection.closed.done()


async def test_both_sides_close_a_channel_at_once(connection, send, soon):
    """In one write: what the broker closes it for, and our own close."""
    for _ in range(20):
        doomed = await connection.open_channel(commands.Confirm.Select())
        confirmed = send(doomed, "key", exchange="nowhere")
        doomed.abandon()
        doomed.ack(1)
        with pytest.raises(BrokerUnavailable):
            await soon(confirmed)
        again = await connection.open_channel()
        await soon(again.call(commands.Confirm.Select()))
        again.abandon()
    assert not connection.closed.done()


async def test_numbers_of_channels_are_used_again(connection, soon):
    numbers = set()
    for _ in range(50):
        channel = await connection.open_channel()
        numbers.add(channel.number)
        await soon(channel.close())
    assert numbers == {1}


async def test_hundreds_of_channels(connection):
    async with asyncio.TaskGroup() as tasks:
        opening = [tasks.create_task(connection.open_channel()) for _ in range(500)]
    assert len({one.result().number for one in opening}) == 500
    async with asyncio.TaskGroup() as tasks:
        for one in opening:
            tasks.create_task(one.result().close())


async def test_an_operator_closes_the_connection(rabbitmq, connecting, soon):
    async with connecting(rabbitmq.url, "closed by an operator") as connection:
        channel = await connection.open_channel()
        assert await rabbitmq.close_connections("closed by an operator") == 1
        assert "320 CONNECTION_FORCED - closed by a test" in await soon(connection.closed)
        assert channel.closed.done()


@pytest.mark.disruptive
async def test_a_channel_that_dies_in_the_broker(rabbitmq, connecting, soon):
    async with connecting(rabbitmq.url) as connection:
        channel = await connection.open_channel()
        await rabbitmq.kill_channels()
        assert "541 INTERNAL_ERROR" in await soon(channel.closed)


@pytest.mark.disruptive
async def test_an_alarm_blocks_who_publishes(rabbitmq, connecting, send, until):
    async with connecting(rabbitmq.url) as connection:
        channel = await connection.open_channel(commands.Confirm.Select())
        await rabbitmq.raise_memory_alarm()
        held = send(channel, "nowhere", b"x" * 1000)
        await until(lambda: connection.blocked or held.done())
        # The alarm is raised a moment after the command has ended.
        while not connection.blocked:
            assert isinstance(held.exception(), Returned)
            held = send(channel, "nowhere", b"x" * 1000)
            await until(lambda held=held: connection.blocked or held.done())
        assert "memory" in connection.blocked
        assert not held.done()
        await rabbitmq.clear_memory_alarm()
        await until(lambda: not connection.blocked)
        await until(held.done)


@pytest.mark.disruptive
async def test_a_broker_that_is_frozen_is_given_up(rabbitmq, connecting, soon, monkeypatch):
    # Longer than a busy machine stands still.
    monkeypatch.setattr(handshake, "HEARTBEAT_SECONDS", 3)
    async with connecting(rabbitmq.url) as connection:
        channel = await connection.open_channel()
        await rabbitmq.pause()
        assert await soon(connection.closed) == "nothing came from RabbitMQ for 6 s"
        assert channel.closed.done()
        await rabbitmq.resume()


async def test_the_broker_takes_our_heartbeats(rabbitmq, connecting, soon, monkeypatch):
    """With three seconds each: it would close a connection that is silent for six."""
    monkeypatch.setattr(handshake, "HEARTBEAT_SECONDS", 3)
    came = asyncio.Queue()

    class Listening(handshake.AmqpConnection):
        def data_received(self, data):
            came.put_nowait(data)
            super().data_received(data)

    monkeypatch.setattr(handshake, "AmqpConnection", Listening)
    async with connecting(rabbitmq.url) as connection:
        beats = 0
        while beats < 6:
            beats += await soon(came.get()) == frames.HEARTBEAT_FRAME
        assert not connection.closed.done()


@pytest.mark.disruptive
async def test_a_broker_that_stops_says_so(rabbitmq, connecting, soon):
    async with connecting(rabbitmq.url) as connection:
        await rabbitmq.stop()
        assert "320 CONNECTION_FORCED" in await soon(connection.closed)


@pytest.mark.disruptive
async def test_a_broker_that_is_killed_says_nothing(rabbitmq, connecting, soon):
    async with connecting(rabbitmq.url) as connection:
        await rabbitmq.kill()
        assert "lost" in await soon(connection.closed)
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        async with connecting(rabbitmq.url):
            pytest.fail("it was let in")
