"""A load on a cluster, and the promises that hold whatever happens to it."""

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from cluster_load.clients import Load
from cluster_load.report import broken_promises, table
from fleet import fleet
from tcp_balancer import balancing

ADDRESSES = "EVENTMESH_TEST_ADDRESSES"
"""What clients and workers are told: "balancer", or "list" for the addresses of all nodes."""

CLIENTS = WORKERS = 3


@pytest.fixture
async def address(cluster):
    """The URL of the cluster, with a virtual host of the test's own."""
    vhost = await cluster.new_virtual_host()
    if os.environ.get(ADDRESSES) == "list":
        yield cluster.url(vhost)
        return
    async with balancing(cluster.addresses()) as balancer:
        yield balancer.url(f"amqp://guest:guest@balancer/{vhost}")


@pytest.fixture
def under_load(address, broker_at, mesh_of, size, tmp_path, record_figure):
    """`async with under_load(title) as load`: all kinds, by three clients, in three workers.

    It begins when all works; at the end it must work again, and all promises have held.
    """

    @asynccontextmanager
    async def under_load(title):
        async with AsyncExitStack() as stack:
            brokers = [await stack.enter_async_context(broker_at(address)) for _ in range(CLIENTS)]
            load = Load(map(mesh_of, brokers), rate=size(4, 15))
            places = str(tmp_path / "places")
            fleet_of = fleet(address, "load", WORKERS, load.ledger.listen, places)
            load.fleet = await stack.enter_async_context(fleet_of)
            async with asyncio.TaskGroup() as tasks:
                load.start(tasks)
                try:
                    await load.progress()
                    yield load
                    await load.progress()
                finally:
                    load.stop()
            load.ledger.close()
            await load.ledger.settle()
        record_figure(table(title, load.ledger))
        assert broken_promises(load.ledger) == []

    return under_load
