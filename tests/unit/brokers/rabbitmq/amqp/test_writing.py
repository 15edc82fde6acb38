"""How a connection writes, what the broker says to slow it down, and heartbeats."""

import asyncio

import pytest
from amqp_client import opened_client
from pamqp import commands, frame, heartbeat

from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.handshake import connect

BEAT = frame.marshal(heartbeat.Heartbeat(), 0)


@pytest.fixture
async def client():
    async with opened_client() as client:
        client.socket.writes.clear()
        yield client


async def test_what_is_written_in_one_pass_goes_out_in_one_write(client):
    for number in range(50):
        client.publish(str(number))
        client.channel.ack(number)
    assert not client.socket.writes
    await asyncio.sleep(0)
    assert len(client.socket.writes) == 1


async def test_much_at_once_is_written_as_it_comes(client):
    """The transport then says when it is too much, and no pass gathers without a bound."""
    for number in range(50):
        client.publish(str(number), b"x" * 10_000)
        assert client.connection.buffered < 80_000
    await asyncio.sleep(0)
    assert client.connection.buffered == 0
    assert len(client.socket.written) > 500_000


async def test_nothing_is_written_to_a_connection_that_has_ended(client):
    client.connection.fail("a test says so")
    client.connection.write(b"late")
    await asyncio.sleep(0)
    assert b"late" not in client.socket.written


async def test_a_full_socket_holds_its_writers_up(client, soon):
    assert client.connection.writable
    client.connection.pause_writing()
    assert not client.connection.writable
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(client.connection.wait_writable()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(wait.done() for wait in waits)
        client.connection.resume_writing()
    await soon(client.connection.wait_writable())


@pytest.mark.parametrize("what", ["blocked", "ended"])
async def test_nobody_waits_for_a_socket_that_will_take_nothing(client, what):
    client.connection.pause_writing()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.connection.wait_writable())
        await asyncio.sleep(0)
        if what == "blocked":
            client.feed(frame.marshal(commands.Connection.Blocked("low on memory"), 0))
        else:
            client.connection.fail("a test says so")
    assert not client.connection.writable


async def test_the_broker_says_whether_it_takes_messages(client):
    assert client.connection.blocked == ""
    client.feed(frame.marshal(commands.Connection.Blocked("low on disk"), 0))
    assert client.connection.blocked == "low on disk"
    client.feed(frame.marshal(commands.Connection.Unblocked(), 0))
    assert client.connection.blocked == ""
    client.feed(frame.marshal(commands.Connection.Blocked(""), 0))
    assert client.connection.blocked == "an alarm"
    assert not client.connection.closed.done()


async def test_a_quiet_connection_sends_heartbeats(client, advance):
    client.connection.tune(10, 4096, 20)
    await advance(10.5)
    client.socket.writes.clear()
    for _ in range(3):
        client.feed(BEAT)
        await advance(10.5)
        assert client.socket.writes == [BEAT]
        client.socket.writes.clear()


async def test_a_busy_connection_needs_no_heartbeats(client, advance):
    client.connection.tune(10, 4096, 20)
    client.publish("a")
    await asyncio.sleep(0)
    client.socket.writes.clear()
    await advance(10.5)
    assert client.socket.writes == []
    await advance(10.5)
    assert client.socket.writes == [BEAT]


async def test_a_silent_broker_is_given_up(client, advance):
    client.connection.tune(10, 4096, 20)
    for _ in range(3):
        await advance(12)
    assert client.end is None
    await advance(12)
    assert client.end == "nothing came from RabbitMQ for 40 s"
    assert client.socket.aborted
    assert not client.channel.is_open


async def test_anything_that_comes_shows_that_the_broker_lives(client, advance):
    client.connection.tune(10, 4096, 20)
    for byte in (BEAT * 3)[:20]:
        await advance(10)
        client.feed(bytes((byte,)))
    assert client.end is None


async def test_heartbeats_go_both_ways_over_a_socket(rabbit, advance, soon):
    connection = await connect(rabbit.address, "test")
    session = await rabbit.session()
    while not session.heartbeats:
        await advance(5)
        session.write(BEAT)
    assert not connection.closed.done()
    await connection.close()


async def test_a_frozen_peer_is_given_up_over_a_socket(rabbit, advance, soon):
    connection = await connect(rabbit.address, "test")
    channel: Channel = await connection.open_channel()
    session = await rabbit.session()
    for _ in range(5):
        await advance(10)
    assert "nothing came" in await soon(channel.closed)
    await soon(session.ended.wait())
    await connection.close()
