"""A load on a cluster, and the promises that hold whatever happens to it."""

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from cluster_load.clients import Load, Pace
from cluster_load.ledger import DEADLINE
from cluster_load.report import broken_promises, table
from fleet import fleet
from tcp_balancer import balancing
from tcp_proxy import TcpProxy, proxying

ADDRESSES = "EVENTMESH_TEST_ADDRESSES"
"""What clients and workers are told: "list", the addresses of all nodes, or "balancer"."""

CLIENTS = WORKERS = 3

SLOTS_QUEUE = re.compile(r"^em\.slots\.load\.guarded\.[0-9a-f]{12}\b", re.MULTILINE)


@dataclass(frozen=True)
class Access:
    """How clients and workers reach the cluster.

    `links[n]` is the way to node n, to stall, reset or forward.
    """

    vhost: str
    url: str
    links: Sequence[TcpProxy]


@pytest.fixture
async def access(cluster):
    """Links to the cluster, and a virtual host of the test's own."""
    vhost = await cluster.new_virtual_host()
    async with AsyncExitStack() as stack:
        if os.environ.get(ADDRESSES, "list") == "balancer":
            balancer = await stack.enter_async_context(balancing(cluster.addresses()))
            url = balancer.url(f"amqp://guest:guest@balancer/{vhost}?cluster=true")
            yield Access(vhost, url, balancer.proxies)
            return
        links = [await stack.enter_async_context(proxying(node.url)) for node in cluster.nodes]
        places = ",".join(f"127.0.0.1:{link.port}" for link in links)
        yield Access(vhost, f"amqp://guest:guest@{places}/{vhost}", links)


@pytest.fixture
def one_queue_has_the_slots(cluster):
    """Wait until those are gone that were replaced while their node was away."""

    async def wait(vhost):
        found = []
        try:
            async with asyncio.timeout(DEADLINE):
                while len(found) != 1:
                    found = SLOTS_QUEUE.findall(await cluster.queues(vhost))
        except TimeoutError:
            raise AssertionError(f"slots are in several queues: {found}") from None

    return wait


@pytest.fixture
def under_load(
    cluster, access, one_queue_has_the_slots, broker_at, mesh_of, size, tmp_path, record_figure
):
    """`async with under_load(title) as load`: all kinds, by three clients, in three workers.

    It begins when all works; at the end it must work again, and all promises have held. `pace` is
    that of each client.
    """

    @asynccontextmanager
    async def under_load(title, pace=None):
        async with AsyncExitStack() as stack:
            brokers = [
                await stack.enter_async_context(broker_at(access.url)) for _ in range(CLIENTS)
            ]
            load = Load(map(mesh_of, brokers), pace or Pace(rate := size(4, 15), rate))
            places = str(tmp_path / "places")
            fleet_of = fleet(access.url, "load", WORKERS, load.ledger.listen, places)
            load.fleet = await stack.enter_async_context(fleet_of)
            stack.enter_context(load.ledger.pulse.beating())
            async with asyncio.TaskGroup() as tasks:
                load.start(tasks)
                try:
                    await load.progress()
                    load.ledger.begin()
                    load.ledger.is_well = False
                    yield load
                    await load.progress()
                    await one_queue_has_the_slots(access.vhost)
                    await load.progress()
                    load.ledger.is_well = True
                    await load.progress()
                except AssertionError as error:
                    error.add_note(table(title, load.ledger))
                    error.add_note(await cluster.queues(access.vhost))
                    raise
                finally:
                    load.stop()
            load.ledger.close()
            await load.ledger.settle()
        record_figure(table(title, load.ledger))
        assert broken_promises(load.ledger) == []

    return under_load
