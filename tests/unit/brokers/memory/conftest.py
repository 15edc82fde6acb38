"""An embedded broker on a clock that the test moves."""

from itertools import count

import pytest

from eventmesh.model.message import Message


@pytest.fixture
def message(clock):
    """Make a message of now; `wait` is how many seconds its sender waits for the reply."""
    numbers = count()

    def make(body=b"", wait=None, **properties):
        deadline = None if wait is None else clock.now() + wait
        return Message(body, f"m{next(numbers)}", clock.now(), deadline=deadline, **properties)

    return make
