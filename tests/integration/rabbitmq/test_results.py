"""Results and cancellations over RabbitMQ: asked of the service, through its RPC queue."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from eventmesh import Client, FunctionNotFound, Service
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.presence import announce
from eventmesh.processes.instance_info import build_instance

PLACE = "orders.place"


def build_services(begun):
    orders, other = Service("orders"), Service("other")

    @orders.function
    async def place(total: int) -> int:
        if total == 0:
            begun.set()
            await asyncio.Event().wait()
        return total

    @other.function
    async def double(number: int) -> int:
        return 2 * number

    return orders, other


async def wait_for(client, id, state):
    while (found := await client.result(id, PLACE)) is None or found.state != state:
        await asyncio.sleep(0.01)
    return found


@asynccontextmanager
async def process(url, service, **settings):
    """A process of its own, which announces itself."""
    clock, read = SystemClock(), Settings(grace=5, **settings)
    async with (
        RabbitBroker(url) as broker,
        host_services([service], broker, read, clock=clock, http=None) as host,
        announce(broker, clock, build_instance(host, [service], read, clock)),
    ):
        yield host


async def test_a_client_asks_and_cancels_over_the_broker(rabbitmq, postgres_url):
    url = await rabbitmq.new_virtual_host()
    begun = asyncio.Event()
    orders, other = build_services(begun)
    async with (
        process(url, orders, store=postgres_url),
        process(url, other),
        asyncio.timeout(200),
        Client(url) as client,
    ):
        id = await client.send(PLACE, {"total": 7})
        assert (await wait_for(client, id, "succeeded")).value == 7
        # Without the name of its function, all services that announce themselves are asked.
        found = await client.result(id)
        assert (found.function, found.value) == (PLACE, 7)
        assert await client.result("unknown") is None
        with pytest.raises(FunctionNotFound, match="has no store"):
            await client.result(id, "other.double")
        with pytest.raises(FunctionNotFound):
            await client.result(id, "nobody.here")

        running = await client.send(PLACE, {"total": 0})
        await begun.wait()
        assert (await client.cancel(running, PLACE)).cancelling
        await wait_for(client, running, "cancelled")

        for delay in (3, 10, 30):  # On a busy machine it may have run by then.
            later = await client.send(PLACE, {"total": 3}, delay=delay)
            if (cancelled := await client.cancel(later, PLACE)).state == "cancelled":
                break
        assert cancelled.state == "cancelled"
        last = await client.send(PLACE, {"total": 3}, delay=delay + 0.3)
        await wait_for(client, last, "succeeded")
        assert (await client.result(later, PLACE)).state == "cancelled"
