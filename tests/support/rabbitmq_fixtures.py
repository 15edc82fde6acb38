"""Fixtures: a RabbitMQ for the tests, and a network that fails between it and them.

`rabbitmq_url` is any broker that may be used, that of EVENTMESH_TEST_BROKER if it is set;
`rabbitmq` is a node of the tests' own, which may be stopped, frozen and killed: it runs again for
the next test. Both are shared: a test uses names of its own, or `rabbitmq.new_virtual_host()`.
"""

import asyncio
import os

import pytest
import pytest_asyncio
from rabbitmq_node import new_node
from tcp_proxy import proxying

BROKER_VARIABLE = "EVENTMESH_TEST_BROKER"


@pytest.fixture(scope="session")
def rabbitmq_node():
    node = new_node()
    try:
        asyncio.run(node.start())
        yield node
    finally:
        node.remove()


@pytest.fixture
def rabbitmq_url(request):
    return os.environ.get(BROKER_VARIABLE) or request.getfixturevalue("rabbitmq_node").url


@pytest_asyncio.fixture
async def rabbitmq(rabbitmq_node):
    yield rabbitmq_node
    await rabbitmq_node.recover()


@pytest_asyncio.fixture
async def proxy(rabbitmq):
    async with proxying(rabbitmq.url) as running:
        yield running
