"""Fixtures for tests that wait: in real time, for what must happen, and never for ever."""

import asyncio

import pytest

from eventmesh.testing import TestMesh

PAUSE = 0.005
"""Real seconds before a test asks a server again: what it waits for needs the processor."""

AT_ONCE = 100
"""How often the event loop only is waited for: most of what happens in a process happens then."""

DEADLINE = 60.0
"""Real seconds in which anything that is expected has happened, on a busy machine too."""


def pytest_configure():
    """Have a `TestMesh` that is not told otherwise wait as long as all tests do."""
    TestMesh.__init__.__kwdefaults__["timeout"] = DEADLINE


@pytest.fixture
def soon():
    """Wait for what must happen in bounded time."""

    async def soon(awaitable):
        async with asyncio.timeout(DEADLINE):
            return await awaitable

    return soon


@pytest.fixture
def until(soon):
    """Wait until something is so that no event tells of."""

    async def passes(condition):
        asked = 0
        while not condition():
            asked += 1
            await asyncio.sleep(0 if asked < AT_ONCE else PAUSE)

    return lambda condition: soon(passes(condition))


@pytest.fixture
async def tasks():
    """Owns the tasks of a test, which ends when they have."""
    async with asyncio.TaskGroup() as group:
        yield group
