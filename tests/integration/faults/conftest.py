"""A client of the mesh under test, and how large the tests are."""

import asyncio
import os

import pytest
from sqlalchemy import text
from waiting import DEADLINE

from eventmesh import StoreUnavailable
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.store.database import Database
from eventmesh.store.urls import read_store_url

FULL = "EVENTMESH_TEST_FULL"


@pytest.fixture
def size():
    """`size(default, full)`: the full size where EVENTMESH_TEST_FULL is set (`make faultsfull`)."""
    return lambda default, full: full if os.environ.get(FULL) else default


@pytest.fixture
def mesh_of():
    """Calls over a broker."""
    return lambda broker: Caller(BrokerTransport(broker), SystemClock(), "test")


@pytest.fixture
def broker_at():
    """A broker of the test's own, to enter."""
    limits = {"connect_timeout": DEADLINE, "publish_timeout": DEADLINE}
    return lambda url: RabbitBroker(url, name="test", **limits)


@pytest.fixture
async def query(postgres_url):
    """Run a statement on the database, outside of any service, and return its rows."""
    database = Database(read_store_url(postgres_url))

    async def query(statement):
        while True:
            try:
                async with database.begin() as connection:
                    result = await connection.execute(text(statement))
                    return [tuple(row) for row in result.all()] if result.returns_rows else []
            except StoreUnavailable:  # It is being restarted.
                await asyncio.sleep(0.1)

    yield query
    await database.close()
