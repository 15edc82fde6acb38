"""What waits for a slot of the mesh when its process stops, or loses its connection."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import inbox, slots_name
from eventmesh.service import Service

MESSAGES = 6


@pytest.fixture
async def mesh(rabbitmq):
    """A virtual host, and a broker in it that the test uses."""
    url = await rabbitmq.new_virtual_host()
    async with RabbitBroker(url, name="test", connect_timeout=60) as broker:
        yield url, broker


@pytest.fixture
def runs():
    return []


@pytest.fixture
def process(mesh, runs):
    """A process whose function shares three slots."""

    @asynccontextmanager
    async def process(name="process"):
        app = Service("app")

        @app.function(reserved_concurrency=3)
        async def work(number: int) -> None:
            runs.append(number)

        async with (
            RabbitBroker(mesh[0], name=name, connect_timeout=60) as broker,
            host_services([app], broker, Settings(grace=600), http=None) as host,
        ):
            yield host, broker

    return process


async def send(host):
    for number in range(MESSAGES):
        await host.caller.send("app.work", {"number": number})


def waiting(host):
    return host.statistics()["app.work"]["waiting"]


async def test_it_goes_back_at_once_when_its_process_stops(mesh, process, runs, soon, until):
    _, broker = mesh
    async with broker.slots(slots_name("app.work"), 3) as slots:
        async with asyncio.timeout(60), process() as (host, _):
            for _ in range(3):
                await slots.acquire()
            await send(host)
            await until(lambda: waiting(host) == 3)
        # The grace time of ten minutes was not waited for.
        assert runs == []
        for _ in range(3):
            slots.release()
    async with process():
        await until(lambda: sorted(runs) == list(range(MESSAGES)))
    assert await soon(broker.depth(inbox("app.work"))) == 0


async def test_it_is_dropped_when_its_connection_is_lost(rabbitmq, mesh, process, runs, until):
    _, broker = mesh
    async with (
        broker.slots(slots_name("app.work"), 3) as slots,
        process("losing") as (host, losing),
    ):
        for _ in range(3):
            await slots.acquire()
        await send(host)
        await until(lambda: waiting(host) == 3)
        async with asyncio.TaskGroup() as tasks:
            # Begun before: the consumer may be back before the command has ended.
            tasks.create_task(until(lambda: not losing.ready))
            assert await rabbitmq.close_connections("losing (consuming)") == 1
        await until(lambda: losing.ready)
        # It has taken again what it may: three are left.
        while await broker.depth(inbox("app.work")) != 3:
            pass
        for _ in range(3):
            slots.release()
        await until(lambda: len(runs) >= MESSAGES)
        while await broker.depth(inbox("app.work")):
            pass
    # Each once: what had waited here was delivered again, and is not run for the lost delivery.
    assert sorted(runs) == list(range(MESSAGES))
