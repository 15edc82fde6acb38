"""Fixtures: a RabbitMQ for the tests, and a network that fails between it and them.

`rabbitmq` is a node that all tests of a run share, also those in other processes: a test uses
names of its own in it, or `rabbitmq.new_virtual_host()`. A test that is marked `disruptive` gets a
node that only tests so marked use, one after the other: it may stop, freeze, kill and block that,
and it runs as before for the next test. `rabbitmq_url` is the address of any broker that may be
used: that of EVENTMESH_TEST_BROKER if it is set, else that of `rabbitmq`.
"""

import os

import pytest
from rabbitmq_node import new_node
from rabbitmq_node.shared import NodeOwner, NodeServer, SharedNode, connect
from tcp_proxy import proxying

BROKER_VARIABLE = "EVENTMESH_TEST_BROKER"
DISRUPTIVE = "disruptive"
ADDRESS = "rabbitmq"

_server = pytest.StashKey[NodeServer]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker of pytest-xdist where the shared node is."""
    if _server not in node.config.stash:
        node.config.stash[_server] = NodeServer(new_node)
    node.workerinput[ADDRESS] = node.config.stash[_server].address


def pytest_unconfigure(config):
    if _server in config.stash:
        config.stash[_server].close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Have one process run all tests that are disruptive."""
    for item in items:
        if item.get_closest_marker(DISRUPTIVE):
            item.add_marker(pytest.mark.xdist_group(DISRUPTIVE))


@pytest.fixture(scope="session")
def node_owner():
    """What starts a node of this process's own."""
    owner = NodeOwner(new_node)
    yield owner
    owner.remove()


@pytest.fixture(scope="session")
def private_node(node_owner):
    """A node of this process's own."""
    return node_owner.node()


@pytest.fixture(scope="session")
def shared_node(request):
    """The node of all processes of this run, which may be this one alone."""
    if hasattr(request.config, "workerinput"):
        return SharedNode(connect(request.config.workerinput[ADDRESS]))
    return SharedNode(request.getfixturevalue("node_owner"))


def is_disruptive(request):
    return request.node.get_closest_marker(DISRUPTIVE) is not None


@pytest.fixture
def node(request):
    """The RabbitMQ node of a test, as it is."""
    return request.getfixturevalue("private_node" if is_disruptive(request) else "shared_node")


@pytest.fixture
async def rabbitmq(request, node):
    """The RabbitMQ node of a test, which runs again afterwards."""
    yield node
    if is_disruptive(request):
        await node.recover()


@pytest.fixture
def rabbitmq_url(request):
    """The URL of a RabbitMQ."""
    return os.environ.get(BROKER_VARIABLE) or request.getfixturevalue("node").url


@pytest.fixture
async def proxy(rabbitmq):
    async with proxying(rabbitmq.url) as running:
        yield running
