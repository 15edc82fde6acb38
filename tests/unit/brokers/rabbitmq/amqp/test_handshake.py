"""Opening a connection, and all the ways in which that fails."""

import asyncio
import logging

import pytest
from fake_rabbitmq import fake_rabbit, handshake, say
from pamqp import commands

from eventmesh.brokers.rabbitmq import endpoints
from eventmesh.brokers.rabbitmq.address import Address, Host
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.brokers.rabbitmq.timing import CLOSE_SECONDS
from eventmesh.model.errors import AccessDenied, BrokerUnavailable

SECRET = "s3cr3t-ünd-sö"


async def no_connection(rabbit, error, match):
    with pytest.raises(error, match=match) as caught:
        await connect(rabbit.address, "test")
    return str(caught.value)


async def test_who_we_are_and_what_we_want(rabbit):
    address = Address((Host("127.0.0.1", rabbit.port),), "/bücher", "anna", SECRET)
    connection = await connect(address, "shop (consuming)")
    session = await rabbit.session()
    start_ok, tune_ok, opened = session.methods
    assert start_ok.mechanism == "PLAIN"
    assert start_ok.response == f"\0anna\0{SECRET}"
    assert start_ok.client_properties["connection_name"] == "shop (consuming)"
    assert start_ok.client_properties["capabilities"] == dict.fromkeys(
        (
            "authentication_failure_close",
            "basic.nack",
            "connection.blocked",
            "consumer_cancel_notify",
            "publisher_confirms",
        ),
        True,
    )
    assert (tune_ok.channel_max, tune_ok.frame_max, tune_ok.heartbeat) == (2047, 131_072, 10)
    assert opened.virtual_host == "/bücher"
    await connection.close()


async def test_a_certificate_can_say_who_we_are(rabbit):
    address = Address((Host("127.0.0.1", rabbit.port),), "/", "", "", external=True)
    connection = await connect(address, "test")
    start_ok = (await rabbit.session()).methods[0]
    assert (start_ok.mechanism, start_ok.response) == ("EXTERNAL", "")
    await connection.close()


@pytest.mark.parametrize("mechanisms", ["AMQPLAIN RABBIT-CR-DEMO", "PLAINER", ""])
async def test_a_server_without_our_mechanism(mechanisms):
    async with fake_rabbit(handshake(mechanisms=mechanisms)) as rabbit:
        await no_connection(rabbit, AccessDenied, "does not offer PLAIN authentication")


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ((0, 0, 0), (2047, 131_072, 10)),
        ((65_535, 2**31, 600), (2047, 131_072, 10)),
        ((7, 4096, 1), (7, 4096, 1)),
    ],
)
async def test_the_smaller_wish_counts_and_zero_is_none(offered, agreed):
    channel_max, frame_max, beat = offered
    shake = handshake(channel_max=channel_max, frame_max=frame_max, beat=beat)
    async with fake_rabbit(shake) as rabbit:
        connection = await connect(rabbit.address, "test")
        tune_ok = (await rabbit.session()).methods[1]
        assert (tune_ok.channel_max, tune_ok.frame_max, tune_ok.heartbeat) == agreed
        assert connection.frame_max == agreed[1]
        await connection.close()


async def test_frames_that_are_smaller_than_amqp_allows_are_refused():
    async with fake_rabbit(handshake(frame_max=512)) as rabbit:
        await no_connection(rabbit, BrokerUnavailable, "frames of 512 bytes at most")


def refusing(code, text, after):
    async def shake(session):
        session.send(0, commands.Connection.Start(0, 9, {}, "PLAIN", "en_US"))
        await say(session, commands.Connection.StartOk)
        if after is not commands.Connection.StartOk:
            session.send(0, commands.Connection.Tune(10, 4096, 60))
            await say(session, commands.Connection.TuneOk)
            await say(session, commands.Connection.Open)
        session.close_connection(code, text)

    return shake


async def test_a_user_that_is_refused():
    text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"
    async with fake_rabbit(refusing(403, text, commands.Connection.StartOk)) as rabbit:
        await no_connection(rabbit, AccessDenied, f"403 {text}")
        session = await rabbit.session()
        await session.next(commands.Connection.CloseOk)


async def test_a_virtual_host_that_is_not_there():
    async with fake_rabbit(
        refusing(530, "NOT_ALLOWED - vhost x not found", commands.Connection.Open)
    ) as rabbit:
        await no_connection(rabbit, AccessDenied, "530 NOT_ALLOWED - vhost x not found")


async def test_a_server_that_is_shutting_down_refuses_nobody():
    shake = refusing(320, "CONNECTION_FORCED - port 5305 closes", commands.Connection.Open)
    async with fake_rabbit(shake) as rabbit:
        await no_connection(rabbit, BrokerUnavailable, "320 CONNECTION_FORCED")


async def other_version(session):
    session.write(b"AMQP\0\1\0\0")
    session.hang_up()


async def silent(session):
    await session.wait_gone()


async def hang_up(session):
    session.cut()


async def hang_up_later(session):
    session.send(0, commands.Connection.Start(0, 9, {}, "PLAIN", "en_US"))
    await say(session, commands.Connection.StartOk)
    session.cut()


async def out_of_order(session):
    session.send(0, commands.Connection.Start(0, 9, {}, "PLAIN", "en_US"))
    await say(session, commands.Connection.StartOk)
    session.send(0, commands.Connection.OpenOk())


async def talk_http(session):
    session.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("shake", "match"),
    [
        (other_version, r"AMQP 1\.0\.0 instead of 0\.9\.1"),
        (hang_up, "lost"),
        (hang_up_later, "lost"),
        (out_of_order, "said Connection.OpenOk in place of Connection.Tune"),
        (talk_http, "cannot be read"),
    ],
)
async def test_a_server_that_says_something_else(shake, match, soon):
    async with fake_rabbit(shake) as rabbit:
        await no_connection(rabbit, BrokerUnavailable, match)
        await soon((await rabbit.session()).ended.wait())


async def test_a_server_that_says_nothing(soon, monkeypatch):
    monkeypatch.setattr(endpoints, "CONNECT_SECONDS", 0.05)
    async with fake_rabbit(silent) as rabbit:
        await no_connection(rabbit, BrokerUnavailable, "did not answer within 0.05 s")
        await soon((await rabbit.session()).ended.wait())


async def test_nobody_listens():
    async with fake_rabbit() as rabbit:
        pass
    await no_connection(rabbit, BrokerUnavailable, "cannot be reached")


async def test_a_host_that_cannot_be_one():
    address = Address((Host("a" * 70 + ".example", 5672),), "/", "guest", "guest")
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        await connect(address, "test")


async def test_giving_up_in_the_middle_leaves_no_socket(soon):
    async with fake_rabbit(silent) as rabbit:
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(connect(rabbit.address, "test"))
            session = await rabbit.session()
            opening.cancel()
        await soon(session.ended.wait())


async def test_good_bye_is_said_and_answered(rabbit, soon):
    connection = await connect(rabbit.address, "test")
    session = await rabbit.session()
    channel = await connection.open_channel()
    await connection.close()
    assert (await session.next(commands.Connection.Close)).reply_code == 200
    assert connection.closed.result() == channel.closed.result() == "it was closed from here"
    await soon(session.ended.wait())
    await connection.close()


async def test_a_broker_that_does_not_say_good_bye(rabbit, advance, soon):
    connection = await connect(rabbit.address, "test")
    session = await rabbit.session()
    del session.answers[commands.Connection.Close]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(connection.close())
        await session.next(commands.Connection.Close)
        await advance(CLOSE_SECONDS)
    await soon(session.ended.wait())


async def test_the_broker_says_good_bye(rabbit, soon):
    connection = await connect(rabbit.address, "test")
    session = await rabbit.session()
    session.close_connection(320, "CONNECTION_FORCED - broker forced connection closure")
    reason = "RabbitMQ closed it: 320 CONNECTION_FORCED - broker forced connection closure"
    assert await soon(connection.closed) == reason
    await session.next(commands.Connection.CloseOk)
    await soon(session.ended.wait())
    await connection.close()


async def test_no_password_is_shown(caplog):
    caplog.set_level(logging.DEBUG)
    async with fake_rabbit(refusing(403, "ACCESS_REFUSED", commands.Connection.StartOk)) as rabbit:
        address = Address((Host("127.0.0.1", rabbit.port),), "/", "anna", SECRET)
        with pytest.raises(AccessDenied) as caught:
            await connect(address, "test")
    shown = f"{caught.value!r} {caught.value} {address!r} {address} {caplog.text}"
    assert SECRET not in shown
    assert "anna" not in repr(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (Address((Host("rabbit", 5672),), "/", "u", "p"), "amqp://rabbit:5672/%2F"),
        (Address((Host("::1", 5672),), "a/b", "u", "p"), "amqp://[::1]:5672/a%2Fb"),
    ],
)
def test_an_address_is_shown_as_a_url(address, shown):
    assert repr(address) == shown
