"""Connections to a server that does what a test tells it to."""

import asyncio
from contextlib import asynccontextmanager
from itertools import count

import pytest
import uvloop
from fake_rabbitmq import fake_rabbit

from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.model.message import Message
from eventmesh.testing.clock import ManualClock


def pytest_asyncio_loop_factories(item):
    """Sockets are those of asyncio and of uvloop; the time of uvloop's cannot be moved."""
    loops = {"asyncio": asyncio.SelectorEventLoop}
    if "rabbit" in item.fixturenames and "advance" not in item.fixturenames:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
async def rabbit():
    async with fake_rabbit() as server:
        yield server


@pytest.fixture
async def connection(rabbit):
    opened = await connect(rabbit.address, "test")
    yield opened
    await opened.close()


@pytest.fixture
async def session(rabbit, connection):
    """The server's end of the connection."""
    return await rabbit.session()


@pytest.fixture
async def channel(connection):
    return await connection.open_channel()


@pytest.fixture
async def advance(monkeypatch):
    """Move the time of the running event loop on, for waits that are longer than a test."""
    loop = asyncio.get_running_loop()
    real, moved = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + moved)

    async def advance(seconds):
        nonlocal moved
        moved += seconds
        # What is due now runs, and what it set off.
        for _ in range(10):
            await asyncio.sleep(0)

    return advance


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def message(clock):
    """Makes a message of now; `wait` is how many seconds its sender waits for the reply."""
    numbers = count(1)

    def message(body=b"{}", wait=None, **properties):
        deadline = None if wait is None else clock.now() + wait
        return Message(body, f"m{next(numbers)}", clock.now(), deadline=deadline, **properties)

    return message


@asynccontextmanager
async def running(*links):
    """Keep these links open while entered."""
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(link.run()) for link in links]
        try:
            yield
        finally:
            for run in runs:
                run.cancel()


@pytest.fixture
def keeping_open():
    return running
