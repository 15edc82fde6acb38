"""TLS to PostgreSQL: whom a store believes, as its URL says."""

import asyncio
import ssl
from urllib.parse import urlencode, urlsplit

import pytest
import trustme

from eventmesh import StoreUnavailable
from eventmesh.store.database import Database
from eventmesh.store.migrate import migrate, read_status
from eventmesh.store.urls import read_store_url

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""What a client asks before it begins TLS (https://www.postgresql.org/docs/current/protocol.html)."""


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
async def tls_port(postgres_url, authority):
    """The port of a server that speaks TLS, for the name "localhost", and passes all on."""
    place = urlsplit(postgres_url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    tasks = set()

    async def forward(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            inner, outer = await asyncio.open_connection(place.hostname, place.port)
            await asyncio.gather(forward(reader, outer), forward(inner, writer))
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def open_store(postgres_url, tls_port, tmp_path):
    """Open the database through TLS, as a host, with an authority that is trusted."""
    opened = []
    place = urlsplit(postgres_url)

    def open_store(host, authority, **options):
        cafile = tmp_path / f"{len(opened)}.pem"
        authority.cert_pem.write_to_path(cafile)
        query = urlencode({"sslmode": "verify-full", "sslrootcert": cafile, **options})
        netloc = f"{place.username}:{place.password}@{host}:{tls_port}"
        database = Database(read_store_url(place._replace(netloc=netloc, query=query).geturl()))
        opened.append(database)
        return database

    yield open_store
    for database in opened:
        await database.close()


async def test_the_server_that_a_private_authority_has_signed_is_used(open_store, authority):
    database = open_store("localhost", authority)
    await migrate(database)
    assert (await read_status(database)).is_current


async def test_a_server_of_another_authority_gets_no_password(open_store):
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await read_status(open_store("localhost", trustme.CA()))


async def test_a_server_of_another_name_gets_no_password(open_store, authority):
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await read_status(open_store("127.0.0.1", authority))
    database = open_store("127.0.0.1", authority, sslmode="verify-ca")
    assert (await read_status(database)).current == ""
