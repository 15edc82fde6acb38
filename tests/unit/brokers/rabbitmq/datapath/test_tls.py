"""amqps:// with certificates that a test's own authority has signed."""

import ssl

import pytest
import trustme
from fake_rabbitmq import fake_rabbit
from pamqp import commands

from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.model.errors import BrokerUnavailable, SettingsError


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def cafile(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope="module")
def certfile(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "client.pem"
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture
async def rabbit(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    async with fake_rabbit(ssl=context) as server:
        yield server


def address(rabbit, host="127.0.0.1", **options):
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return parse_address(f"amqps://guest:guest@{host}:{rabbit.port}/?{query}")


async def test_a_server_that_our_authority_knows(rabbit, cafile, soon):
    connection = await connect(address(rabbit, cafile=cafile), "test")
    session = await rabbit.session()
    channel = await connection.open_channel()
    channel.publish_unconfirmed(b"\0\x3c\0\x28\0\0\0\0\0", b"\0\0", b"x" * 1_000_000)
    await connection.close()
    await soon(session.ended.wait())
    assert session.count(commands.Channel.Open) == 1


async def test_the_server_closes_a_connection_with_tls(rabbit, cafile, soon):
    connection = await connect(address(rabbit, cafile=cafile), "test")
    session = await rabbit.session()
    session.close_connection()
    await session.next(commands.Connection.CloseOk)
    assert "320" in await soon(connection.closed)
    await soon(connection.close())
    await soon(session.ended.wait())


async def test_a_server_that_nobody_knows(rabbit):
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await connect(address(rabbit), "test")


async def test_a_server_of_another_name(authority, cafile):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("rabbit.example").configure_cert(context)
    async with fake_rabbit(ssl=context) as rabbit:
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            await connect(address(rabbit, cafile=cafile), "test")
        connection = await connect(address(rabbit, verify="none"), "test")
        await connection.close()


async def test_a_client_that_logs_in_by_its_certificate(rabbit, cafile, certfile):
    given = address(rabbit, cafile=cafile, certfile=certfile, auth="external")
    connection = await connect(given, "test")
    session = await rabbit.session()
    assert session.methods[0].mechanism == "EXTERNAL"
    assert session.peer_names == ["client"]
    await connection.close()


async def test_tls_to_a_server_that_speaks_plain_amqp(cafile):
    async with fake_rabbit() as rabbit:
        with pytest.raises(BrokerUnavailable, match=r"cannot be reached|lost"):
            await connect(address(rabbit, cafile=cafile), "test")


async def test_plain_amqp_to_a_server_that_speaks_tls(rabbit):
    with pytest.raises(BrokerUnavailable, match=r"lost|cannot be read"):
        await connect(parse_address(f"amqp://guest:guest@127.0.0.1:{rabbit.port}"), "test")


def test_a_key_with_a_password_is_refused_and_asked_for_nowhere(authority, tmp_path):
    from cryptography.hazmat.primitives import serialization

    certificate = authority.issue_cert("client")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    path = tmp_path / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        + certificate.cert_chain_pems[0].bytes()
    )
    with pytest.raises(SettingsError, match="a key without a password"):
        parse_address(f"amqps://rabbit/?certfile={path}")
