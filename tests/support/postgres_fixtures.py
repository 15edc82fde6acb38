"""Fixtures: a PostgreSQL for the tests.

`postgres_url` is a new, empty database of a test's own, in a server that all tests of a run share:
that of EVENTMESH_TEST_POSTGRES if it is set, else one that is started for them. A test that is
marked `disruptive` gets it in a server that only tests so marked use, one after the other:
`postgres` may be stopped, frozen and killed there, and runs as before for the next test.
`pooled_url` is that of such a database as it is reached through a pgbouncer in transaction mode:
that of EVENTMESH_TEST_PGBOUNCER if it is set, else one that is started.
"""

import asyncio
import os
from urllib.parse import urlsplit

import pytest
from disruptive import is_disruptive
from pgbouncer import Pgbouncer
from postgres_server import Databases, new_server
from shared_server import Owner, OwnerServer, connect

SERVER_VARIABLE = "EVENTMESH_TEST_POSTGRES"
POOLER_VARIABLE = "EVENTMESH_TEST_PGBOUNCER"
ADDRESS = "postgres"

_server = pytest.StashKey[OwnerServer]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker of pytest-xdist where the shared server is."""
    if _server not in node.config.stash:
        node.config.stash[_server] = OwnerServer(new_server)
    node.workerinput[ADDRESS] = node.config.stash[_server].address


def pytest_unconfigure(config):
    if _server in config.stash:
        config.stash[_server].close()


@pytest.fixture(scope="session")
def postgres_owner():
    """What starts a server of this process's own."""
    owner = Owner(new_server)
    yield owner
    owner.remove()


@pytest.fixture(scope="session")
def private_postgres(postgres_owner):
    """A server of this process's own."""
    return postgres_owner.server()


@pytest.fixture(scope="session")
def shared_postgres(request):
    """The server of all processes of this run, which may be this one alone."""
    if url := os.environ.get(SERVER_VARIABLE):
        return Databases(url)
    if hasattr(request.config, "workerinput"):
        return Databases(connect(request.config.workerinput[ADDRESS]).call("address"))
    return Databases(request.getfixturevalue("postgres_owner").call("address"))


@pytest.fixture
async def postgres(request):
    """The PostgreSQL of a test, which runs again afterwards."""
    if is_disruptive(request.node):
        server = request.getfixturevalue("private_postgres")
        yield server
        await server.recover()
    else:
        yield request.getfixturevalue("shared_postgres")


@pytest.fixture
async def new_postgres_url(postgres):
    """Make an empty database of the test's own; return its URL."""
    made = []

    async def new():
        made.append(await asyncio.to_thread(postgres.new_database))
        return made[-1]

    yield new
    if made and hasattr(postgres, "recover"):
        await postgres.recover()
    for url in made:
        await asyncio.to_thread(postgres.drop_database, url)


@pytest.fixture
async def postgres_url(new_postgres_url):
    """The URL of an empty database of the test's own."""
    return await new_postgres_url()


@pytest.fixture(scope="session")
def pooler_address(shared_postgres):
    """Where the pgbouncer before the shared server is: its host and port."""
    if address := os.environ.get(POOLER_VARIABLE):
        if SERVER_VARIABLE not in os.environ:
            raise RuntimeError(f"{POOLER_VARIABLE} needs {SERVER_VARIABLE}: the server behind it")
        yield address
        return
    pooler = Pgbouncer(shared_postgres.url)
    try:
        pooler.launch()
        yield pooler.address()
    finally:
        pooler.remove()


@pytest.fixture
def pooled_url(request, pooler_address, postgres_url):
    """The URL of an empty database of the test's own, reached through pgbouncer."""
    if is_disruptive(request.node):
        raise RuntimeError("pgbouncer is before the shared server: no disruptive test may use it")
    return through(pooler_address, postgres_url)


def through(address, url):
    """Return the URL by which a pooler at an address serves a database."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{address}", query="pgbouncer=true").geturl()
