"""A service that was taken over announces processes of others, as its own user of RabbitMQ."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession
from prometheus_client import generate_latest
from waiting import DEADLINE, PAUSE

from eventmesh.aio.clock import SystemClock
from eventmesh.client.mesh import open_mesh
from eventmesh.model.settings import Settings
from eventmesh.model.topology import to_presence
from eventmesh.presence import AnnouncedRoute, Instance, announce
from eventmesh.presence.instance import HERE, INSTANCES, presence_message
from eventmesh.processes.worker import serve_gateway

FORGED = "user {!r} was dropped: it is sent in the name of {!r}"
COUNTED = b"eventmesh_presence_refused_total 2.0"


def instance_of(service, function, id="forged"):
    """A process of a service whose function answers GET /pay."""
    description = {"name": function, "triggers": [], "limits": {"max_pending": 1}}
    route = AnnouncedRoute("GET", "/pay", function, 5.0)
    return Instance(id, "host", 7, 1.0, {service: "1"}, [description], [route])


@pytest.fixture
def settings(mesh):
    return Settings(
        broker=mesh.url(mesh.gateway),
        broker_users="per-service",
        gateways=(mesh.gateway,),
        http_port=0,
        grace=5,
    )


@pytest.fixture
def lie(mesh):
    """Announces a process, as the user of the service that was taken over."""

    async def lie(broker, instance):
        message = presence_message(HERE, INSTANCES.dump_json(instance), SystemClock().now())
        await broker.publish(to_presence(HERE), message)

    return lie


async def test_a_gateway_drops_counts_and_logs_it(mesh, settings, lie, caplog):
    async with AsyncExitStack() as stack:
        evil = await stack.enter_async_context(mesh.broker(mesh.evil))
        door = await stack.enter_async_context(mesh.broker(mesh.gateway))
        gateway = await stack.enter_async_context(serve_gateway(door, settings))
        http = await stack.enter_async_context(ClientSession(gateway.addresses["http"]))
        for _ in range(2):
            await lie(evil, instance_of(mesh.shop, f"{mesh.shop}.open"))
        async with asyncio.timeout(DEADLINE):
            while COUNTED not in generate_latest(gateway.metrics.registry):
                await asyncio.sleep(PAUSE)
        async with http.get("/pay") as answer:
            assert answer.status == 404
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([each for each in warned if FORGED.format(mesh.evil, mesh.shop) in each]) == 1


async def test_the_commands_do_not_show_it_and_show_the_real_one(mesh, settings, lie):
    own = f"{mesh.evil}.f"
    url = mesh.url(mesh.gateway, f"?users=per-service&gateways={mesh.gateway}")
    async with AsyncExitStack() as stack:
        evil = await stack.enter_async_context(mesh.broker(mesh.evil))
        _, observer = await stack.enter_async_context(open_mesh(url, "ps"))
        await lie(evil, instance_of(mesh.shop, f"{mesh.shop}.open"))
        # Its own process comes after it on the same channel, and so is seen after it.
        described = instance_of(mesh.evil, own, "real")
        await stack.enter_async_context(announce(evil, SystemClock(), lambda: described))
        async with asyncio.timeout(DEADLINE):
            while not observer.instances:
                await asyncio.sleep(PAUSE)
        assert [each.id for each in observer.instances.values()] == ["real"]
        assert observer.refused == 1
