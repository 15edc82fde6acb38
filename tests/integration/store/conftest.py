"""Services with a store: on SQLite and on PostgreSQL, each with a database of the test's own."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest
from databases import open_database
from sqlalchemy import text

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings


@pytest.fixture(autouse=True)
def patient(patient_stores):
    """How long a database takes on a busy machine decides no test."""


@pytest.fixture
async def query(store_url):
    """Run a statement on the database, outside of any service, and return its rows."""
    async with open_database(store_url) as database:

        async def query(statement, **parameters):
            async with database.begin() as connection:
                result = await connection.execute(text(statement), parameters)
                return result.all() if result.returns_rows else []

        yield query


@asynccontextmanager
async def host_on(*services, broker=None, url, **settings):
    settings = Settings(http_port=0, store=url, **settings)
    if broker is not None:
        async with host_services(services, broker, settings, http=None) as host:
            yield host
        return
    async with MemoryBroker() as own, host_services(services, own, settings, http=None) as host:
        yield host


@pytest.fixture
def hosting(store_url):
    """Run services with the store while entered, on an embedded broker or a given one."""
    return partial(host_on, url=store_url)


@pytest.fixture
def hosting_postgres():
    """The same, on the PostgreSQL at the URL that is given."""
    return host_on


@pytest.fixture
def eventually(soon):
    """Wait until a coroutine function returns what is expected."""

    async def eventually(ask, expected):
        async def wait():
            while (found := await ask()) != expected:
                await asyncio.sleep(0.02)
            return found

        return await soon(wait())

    return eventually
