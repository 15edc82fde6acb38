"""Fixtures: a RabbitMQ for the tests, and a network that fails between it and them.

`rabbitmq` is a node that all tests of a run share, also those in other processes: a test uses
names of its own in it, or `rabbitmq.new_virtual_host()`. A test that is marked `disruptive` gets a
node that only tests so marked use, one after the other: it may stop, freeze, kill and block that,
and it runs as before for the next test. `rabbitmq_url` is the address of any broker that may be
used: that of EVENTMESH_TEST_BROKER if it is set, else that of `rabbitmq`.

Nodes keep their messages in memory where there is room for them: what is written outlives a killed
process there as well, and no test waits for a disk that others use. EVENTMESH_TEST_DATA names
another folder; at full size it is the one for temporary files.
"""

import os
import shutil
from pathlib import Path

import pytest
from disruptive import is_disruptive
from rabbitmq_node import new_node
from rabbitmq_node.node import DATA_VARIABLE
from rabbitmq_node.shared import SharedNode
from shared_server import Owner, OwnerServer, connect
from tcp_proxy import proxying

BROKER_VARIABLE = "EVENTMESH_TEST_BROKER"
ADDRESS = "rabbitmq"

MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30

_server = pytest.StashKey[OwnerServer]()


def pytest_configure():
    if "EVENTMESH_TEST_FULL" not in os.environ and has_room(MEMORY):
        os.environ.setdefault(DATA_VARIABLE, str(MEMORY))


def has_room(folder):
    """Whether files may be made there, and of so many bytes."""
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker of pytest-xdist where the shared node is."""
    if _server not in node.config.stash:
        node.config.stash[_server] = OwnerServer(new_node)
    node.workerinput[ADDRESS] = node.config.stash[_server].address


def pytest_unconfigure(config):
    if _server in config.stash:
        config.stash[_server].close()


@pytest.fixture(scope="session")
def node_owner():
    """What starts a node of this process's own."""
    owner = Owner(new_node)
    yield owner
    owner.remove()


@pytest.fixture(scope="session")
def private_node(node_owner):
    """A node of this process's own."""
    return node_owner.server()


@pytest.fixture(scope="session")
def shared_node(request):
    """The node of all processes of this run, which may be this one alone."""
    if hasattr(request.config, "workerinput"):
        return SharedNode(connect(request.config.workerinput[ADDRESS]))
    return SharedNode(request.getfixturevalue("node_owner"))


@pytest.fixture
def node(request):
    """The RabbitMQ node of a test, as it is."""
    return request.getfixturevalue("private_node" if is_disruptive(request.node) else "shared_node")


@pytest.fixture
async def rabbitmq(request, node):
    """The RabbitMQ node of a test, which runs again afterwards."""
    yield node
    if is_disruptive(request.node):
        await node.recover()


@pytest.fixture
def rabbitmq_url(request):
    """The URL of a RabbitMQ."""
    return os.environ.get(BROKER_VARIABLE) or request.getfixturevalue("node").url


@pytest.fixture
async def proxy(rabbitmq):
    async with proxying(rabbitmq.url) as running:
        yield running
