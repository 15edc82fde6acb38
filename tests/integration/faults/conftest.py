"""A client of the mesh under test, and how large the tests are."""

import os

import pytest

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.caller import BrokerTransport, Caller

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
    return lambda url: RabbitBroker(url, name="test", connect_timeout=60)
