"""amqps:// to a real RabbitMQ: both kinds of connections, and who is not to be trusted."""

import asyncio
from uuid import uuid4

import pytest
from certificates import Certificates

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.management import connection as management_connection
from eventmesh.model.errors import InvocationError
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, to_function


@pytest.fixture
def url(rabbitmq):
    return f"{rabbitmq.tls_url}?cafile={rabbitmq.cafile}"


async def goes_around(url, function):
    """Declare, publish, consume, look into the queue, and take a lease."""
    came = asyncio.Queue()
    async with RabbitBroker(url, connect_timeout=30) as broker:
        await broker.declare([inbox(function)])
        async with broker.consume(inbox(function), came.put_nowait, prefetch=1):
            await broker.publish(to_function(function), Message(b"x" * 300_000, "a", 1.0))
            async with asyncio.timeout(30):
                delivery = await came.get()
            delivery.ack()
        async with broker.lease(f"em.timers.{function}") as lease:
            await lease.save(b"state")
        assert await broker.get(inbox(function)) is None
        assert broker.ready
    return len(delivery.message.body)


async def test_everything_works_over_tls(rabbitmq, url, function):
    assert await goes_around(url, function) == 300_000


async def test_all_connections_are_encrypted(rabbitmq, url, function):
    async with RabbitBroker(url, name=function, connect_timeout=30) as broker:
        await broker.declare([inbox(function)])
        rows = await rabbitmq.table("list_connections", "ssl", "client_properties")
        assert [row["ssl"] for row in rows if function in str(row)] == [True] * 3


async def test_a_client_logs_in_by_its_certificate(rabbitmq, url, function):
    user = f"shop-{uuid4().hex[:8]}"
    await rabbitmq.ctl("add_user", user, uuid4().hex)
    await rabbitmq.ctl("set_permissions", user, ".*", ".*", ".*")
    certificate = rabbitmq.client_certificate(user)
    given = url.replace("guest:guest@", "") + f"&certfile={certificate}&auth=external"
    assert await goes_around(given, function) == 300_000


async def test_a_certificate_of_nobody_is_refused(rabbitmq, connecting, url, function, monkeypatch):
    certificate = rabbitmq.client_certificate("nobody")
    given = f"{url}&certfile={certificate}&auth=external"
    for said in await unreachable(connecting, given, function, monkeypatch, "refuse"):
        assert "refuse" in said
        assert "user" in said


async def test_a_password_comes_from_a_file(rabbitmq, url, function, tmp_path):
    user = f"shop-{uuid4().hex[:8]}"
    (tmp_path / "password").write_text("s3cr3t/?#\n")
    await rabbitmq.ctl("add_user", user, "s3cr3t/?#")
    await rabbitmq.ctl("set_permissions", user, ".*", ".*", ".*")
    given = url.replace("guest:guest@", f"{user}@") + f"&password_file={tmp_path / 'password'}"
    assert await goes_around(given, function) == 300_000


@pytest.fixture
def another_authority(tmp_path):
    return Certificates(tmp_path).cafile


async def unreachable(connecting, url, function, monkeypatch, expected):
    """What both kinds of connections say: those of the data path, and that for control."""
    said = "", ""
    for seconds in (1, 5, 25):  # On a busy machine the first attempt may take longer.
        monkeypatch.setattr(management_connection, "CONNECT_SECONDS", seconds)
        with pytest.raises(InvocationError) as raised:
            async with RabbitBroker(url, connect_timeout=seconds):
                pytest.fail("it was let in")
        async with connecting(url) as client:
            with pytest.raises(InvocationError) as refused:
                await client.management.depth(inbox(function))
        said = str(raised.value), str(refused.value)
        if all(expected in each for each in said):
            break
    return said


async def test_a_server_of_an_authority_that_we_do_not_know(
    rabbitmq, connecting, another_authority, function, monkeypatch
):
    url = f"{rabbitmq.tls_url}?cafile={another_authority}"
    expected = "certificate verify failed"
    for said in await unreachable(connecting, url, function, monkeypatch, expected):
        assert expected in said


async def test_a_server_of_another_name(rabbitmq, connecting, url, function, monkeypatch):
    url = url.replace("127.0.0.1", "localhost")
    expected = "Hostname mismatch, certificate is not valid for 'localhost'"
    for said in await unreachable(connecting, url, function, monkeypatch, expected):
        assert expected in said
