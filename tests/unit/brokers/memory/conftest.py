"""An embedded broker on a clock that the test moves."""

from itertools import count

import pytest
import pytest_asyncio

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.message import Message
from eventmesh.testing.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest_asyncio.fixture
async def broker(clock):
    async with MemoryBroker(clock) as opened:
        yield opened


@pytest.fixture
def message(clock):
    """Make a message of now; `wait` is how many seconds its sender waits for the reply."""
    numbers = count()

    def make(body=b"", wait=None, **properties):
        deadline = None if wait is None else clock.now() + wait
        return Message(body, f"m{next(numbers)}", clock.now(), deadline=deadline, **properties)

    return make
