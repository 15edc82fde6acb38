"""A connection that is opened again for as long as it is wanted."""

import asyncio
import logging
from contextlib import asynccontextmanager, suppress

import pytest
from fake_rabbitmq import fake_rabbit, handshake
from pamqp import commands

from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.timing import FIRST_WAIT
from eventmesh.model.errors import AccessDenied, BrokerUnavailable


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.DEBUG, "eventmesh.rabbitmq")
    return caplog


@asynccontextmanager
async def running(link):
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(link.run())
        try:
            yield run
        finally:
            run.cancel()


async def test_a_connection_that_is_lost_is_opened_again(rabbit, soon):
    link = ReconnectingConnection(rabbit.address, "test")
    async with running(link):
        for _ in range(3):
            connection = await soon(link.wait_connected())
            assert link.current is connection
            (await rabbit.session()).cut()
            assert "lost" in await soon(connection.closed)
            assert link.current is None
    assert len(rabbit.sessions) == 3


async def test_a_link_offers_no_connection_that_has_just_ended(rabbit, soon):
    """Also before `run` has seen that it has: whoever waits gets the next."""
    link = ReconnectingConnection(rabbit.address, "test")
    async with running(link):
        connection = await soon(link.wait_connected())
        connection.fail("a test says so")
        assert link.current is None
        assert await soon(link.wait_connected()) is not connection


async def test_the_first_connection_may_be_made_before_the_broker_is_there(soon, until, log):
    async with fake_rabbit() as gone:
        pass
    link = ReconnectingConnection(gone.address, "test")
    async with running(link):
        await until(lambda: "cannot be reached" in link.unavailable_reason)
        async with fake_rabbit(port=gone.port):
            connection = await soon(link.wait_connected())
            assert not connection.closed.done()
    warnings = [record for record in log.records if record.levelno == logging.WARNING]
    assert "cannot be reached" in warnings[0].getMessage()


async def test_all_who_wait_get_the_connection(rabbit, soon):
    link = ReconnectingConnection(rabbit.address, "test")
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(link.wait_connected()) for _ in range(5)]
        async with running(link):
            assert len({id(await soon(wait)) for wait in waits}) == 1


async def test_a_connection_is_made_ready_before_anybody_gets_it(rabbit, soon):
    ready = []

    async def prepare(connection):
        assert link.current is None
        ready.append(await connection.open_channel())

    link = ReconnectingConnection(rabbit.address, "test", prepare)
    async with running(link):
        await soon(link.wait_connected())
        assert ready[0].is_open


async def test_a_connection_that_cannot_be_made_ready_is_tried_again(rabbit, soon, log):
    async def prepare(connection):
        channel = await connection.open_channel()
        if len(rabbit.sessions) < 3:
            (await rabbit.session()).close_channel(channel.number, 403, "ACCESS_REFUSED")
            await channel.call(commands.Confirm.Select())

    link = ReconnectingConnection(rabbit.address, "test", prepare)
    async with running(link):
        await soon(link.wait_connected())
        (warning,) = [one for one in log.records if one.levelno == logging.WARNING]
        assert "403 ACCESS_REFUSED" in warning.getMessage()
        for session in rabbit.sessions[:2]:
            await soon(session.ended.wait())


def refusing(times):
    """A server that refuses the user so often, and then lets it in."""
    tries = 0

    async def shake(session):
        nonlocal tries
        tries += 1
        if tries <= times:
            session.send(0, commands.Connection.Start(0, 9, {}, "PLAIN", "en_US"))
            await session.read_frame()
            session.close_connection(403, "ACCESS_REFUSED - Login was refused")
        else:
            await handshake()(session)

    return shake


async def test_being_refused_is_tried_again_and_said_once(soon, log):
    async with fake_rabbit(refusing(times=3)) as rabbit:
        link = ReconnectingConnection(rabbit.address, "shop")
        async with running(link):
            await soon(link.wait_connected())
    warnings = [record.getMessage() for record in log.records if record.levelname == "WARNING"]
    assert len([text for text in warnings if "Login was refused" in text]) == 1
    assert warnings[0].startswith("shop: ")


async def test_a_link_that_is_not_patient_tells_at_once_that_it_is_refused(soon, log):
    async with fake_rabbit(refusing(times=1)) as rabbit:
        link = ReconnectingConnection(rabbit.address, "shop", retry_refused_login=False)
        async with running(link):
            with pytest.raises(AccessDenied, match="Login was refused"):
                await soon(link.wait_connected())
            assert "Login was refused" in link.unavailable_reason
            await soon(connected(link))
    assert not [record for record in log.records if record.levelname == "WARNING"]


async def connected(link):
    while True:
        with suppress(AccessDenied):
            return await link.wait_connected()
        await asyncio.sleep(0)


async def test_a_link_that_is_not_patient_waits_for_a_broker_that_is_away(soon):
    async with fake_rabbit() as gone:
        pass
    link = ReconnectingConnection(gone.address, "shop", retry_refused_login=False)
    async with running(link), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(link.wait_connected())
        await soon(said(link, "cannot be reached"))
        async with fake_rabbit(port=gone.port):
            await soon(waiting)


async def said(link, trouble):
    while trouble not in link.failure:
        await asyncio.sleep(0)


async def test_a_reason_that_comes_back_is_said_again(rabbit, soon, log):
    link = ReconnectingConnection(rabbit.address, "test")
    async with running(link):
        for _ in range(2):
            connection = await soon(link.wait_connected())
            (await rabbit.session()).cut()
            await soon(connection.closed)
        await soon(link.wait_connected())
    assert log.text.count("lost") == 2


async def test_a_broker_that_drops_everybody_is_not_asked_all_the_time(monkeypatch):
    waits, real = [], asyncio.sleep

    async def sleep(seconds):
        waits.append(seconds)
        await real(0)

    async def shake(session):
        await handshake()(session)
        session.close_connection()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    async with (
        fake_rabbit(shake) as rabbit,
        running(ReconnectingConnection(rabbit.address, "test")),
    ):
        for _ in range(6):
            await rabbit.session()
    assert waits[0] >= FIRST_WAIT / 2
    assert waits[4] > waits[0]


async def ended_while(link, rabbit, reach, soon):
    """Run a link until `reach` returns; then nothing of it may be left."""
    async with running(link):
        await soon(reach)
    assert link.closed_for_good
    assert link.current is None
    for session in rabbit.sessions:
        await soon(session.ended.wait())


async def test_ending_before_it_is_connected(rabbit, soon):
    await ended_while(
        ReconnectingConnection(rabbit.address, "test"), rabbit, asyncio.sleep(0), soon
    )


async def test_ending_in_the_handshake(soon):
    reached = asyncio.Event()

    async def shake(session):
        reached.set()
        await session.wait_gone()

    async with fake_rabbit(shake) as rabbit:
        await ended_while(
            ReconnectingConnection(rabbit.address, "test"), rabbit, reached.wait(), soon
        )


async def test_ending_while_a_connection_is_made_ready(rabbit, soon):
    reached = asyncio.Event()

    async def prepare(connection):
        channel = await connection.open_channel()
        reached.set()
        await channel.call(commands.Basic.Recover())  # Nobody answers.

    await ended_while(
        ReconnectingConnection(rabbit.address, "test", prepare), rabbit, reached.wait(), soon
    )


async def test_ending_while_it_is_connected(rabbit, soon):
    link = ReconnectingConnection(rabbit.address, "test")
    await ended_while(link, rabbit, link.wait_connected(), soon)


async def test_ending_between_two_attempts(rabbit, soon):
    link = ReconnectingConnection(rabbit.address, "test")

    async def lost():
        connection = await link.wait_connected()
        (await rabbit.session()).cut()
        await connection.closed

    await ended_while(link, rabbit, lost(), soon)


async def test_nobody_waits_for_a_link_that_is_closed(rabbit, soon):
    link = ReconnectingConnection(rabbit.address, "test")
    async with asyncio.TaskGroup() as tasks:
        async with running(link):
            connection = await soon(link.wait_connected())
            (await rabbit.session()).cut()
            await soon(connection.closed)
            waiting = tasks.create_task(refused(link))
            await asyncio.sleep(0)
        await soon(waiting)
    await soon(refused(link))


async def refused(link):
    with pytest.raises(BrokerUnavailable, match="the connection to RabbitMQ is closed"):
        await link.wait_connected()


async def test_closing_says_good_bye(rabbit, soon):
    link = ReconnectingConnection(rabbit.address, "test")
    async with running(link):
        await soon(link.wait_connected())
        session = await rabbit.session()
    assert session.count(commands.Connection.Close) == 1


async def test_a_second_cancellation_closes_without_good_bye(rabbit, soon):
    link = ReconnectingConnection(rabbit.address, "test")
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(link.run())
        await soon(link.wait_connected())
        session = await rabbit.session()
        del session.answers[commands.Connection.Close]
        run.cancel()
        await session.next(commands.Connection.Close)
        run.cancel()
    await soon(session.ended.wait())
