from collections.abc import Callable

import pytest

from eventmesh.model.invocation import SYNC, Invocation
from eventmesh.testing.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def invocation(clock) -> Callable[..., Invocation]:
    """Makes invocations of one function, synchronous ones unless told otherwise."""

    def make(**fields) -> Invocation:
        known = {
            "function": "orders.place",
            "id": "4fd0",
            "payload": b'{"card": "4111"}',
            "created": clock.now(),
            "mode": SYNC,
        }
        return Invocation(**(known | fields))

    return make
