"""Fixtures: a cluster of RabbitMQ that tests break one after the other.

`cluster` runs as one again for each test. It is started when the first test asks for it.
"""

import asyncio

import pytest
from rabbitmq_cluster import new_cluster

CLUSTER = "cluster"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Have one process run all tests that use it: it is three nodes."""
    for item in items:
        if CLUSTER in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group(CLUSTER))


@pytest.fixture(scope="session")
def running_cluster():
    made = new_cluster()
    try:
        asyncio.run(made.launch())
        yield made
    finally:
        made.remove()


@pytest.fixture
async def cluster(running_cluster):
    """A cluster that is whole when the test begins."""
    yield running_cluster
    await running_cluster.recover()
