"""Services run as the users that are derived from their code, and do all that it says."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from waiting import DEADLINE, PAUSE

from eventmesh import Context, Retry, Service, on
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.access.definitions import build_definitions
from eventmesh.brokers.rabbitmq.access.permissions import gateway_permissions, permissions
from eventmesh.doctor.inspect import inspect_mesh
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters
from eventmesh.packaging.broker_export import rights_of
from eventmesh.processes.worker import serve_gateway, serve_services

ID = uuid4().hex[:8]
VHOST, GATEWAY = f"test-{ID}", f"gateway{ID}"


class Happened:
    """What the functions did."""

    def __init__(self):
        self._queue = asyncio.Queue()

    def put(self, what):
        self._queue.put_nowait(what)

    async def set_of(self, count):
        async with asyncio.timeout(DEADLINE):
            return {await self._queue.get() for _ in range(count)}


@pytest.fixture
def happened():
    return Happened()


@pytest.fixture
def services(happened):
    stock = Service(f"stock{ID}", calls=[], emits=["stock.low"])
    orders = Service(f"orders{ID}", calls=[f"stock{ID}.reserve"], emits=["order.placed"])

    @stock.function(reserved_concurrency=1)
    async def reserve(ctx: Context, n: int) -> int:
        assert ctx.caller == f"orders{ID}.place"
        await ctx.emit("stock.low", {"n": n}, delay=0.2)
        return n * 2

    @stock.function(on.event("order.*"))
    async def hear(order: int) -> None:
        happened.put(f"heard {order}")

    @orders.function(on.event("stock.low", broadcast=True))
    async def low(n: int) -> None:
        happened.put(f"low {n}")

    @orders.function(on.post(f"/orders{ID}"))
    async def place(ctx: Context, n: int) -> int:
        reserved = await ctx.invoke(f"stock{ID}.reserve", {"n": n}, returns=int)
        await ctx.emit("order.placed", {"order": reserved})
        await ctx.send(fail, {"n": n}, delay=0.1)
        return reserved

    @orders.function(retry=Retry(2, initial=0.05), on_failure=f"orders{ID}.tell")
    async def fail(n: int) -> None:
        raise ValueError(n)

    @orders.function
    async def tell(ctx: Context) -> None:
        happened.put("told")

    @orders.function(on.queue(f"paper{ID}"))
    async def scan(n: int) -> None: ...

    @orders.function(on.every("200ms"))
    async def tick() -> None:
        happened.put("tick")

    return stock, orders


@pytest.fixture
async def node(rabbitmq, services, importing):
    both = [rights_of(service) for service in services]
    users = [*map(permissions, both), gateway_permissions(GATEWAY)]
    definitions = build_definitions(VHOST, users, both, {each.user: "secret" for each in users})
    await asyncio.to_thread(importing, rabbitmq, definitions)
    yield rabbitmq
    for each in users:
        await rabbitmq.ctl("delete_user", each.user)
    await rabbitmq.ctl("delete_vhost", VHOST)


def settings_of(node, user):
    return Settings(
        broker=f"amqp://{user}:secret@{node.host}:{node.port}/{VHOST}",
        broker_users="per-service",
        gateways=(GATEWAY,),
        http_port=0,
        admin_port=0,
        grace=5,
    )


async def test_everything_in_code_works(node, services, happened, caplog):
    async with AsyncExitStack() as stack:
        for service in services:
            settings = settings_of(node, service.name)
            broker = RabbitBroker(settings.broker_address, connect_timeout=DEADLINE)
            await stack.enter_async_context(broker)
            await stack.enter_async_context(serve_services([service], broker, settings))
        settings = settings_of(node, GATEWAY)
        door = RabbitBroker(settings.broker_address, connect_timeout=DEADLINE)
        await stack.enter_async_context(door)
        gateway = await stack.enter_async_context(serve_gateway(door, settings))
        http = await stack.enter_async_context(ClientSession(gateway.addresses["http"]))

        async def post(path, body):
            async with http.post(path, json=body) as answer:
                return answer.status, await answer.json()

        async with asyncio.timeout(DEADLINE):
            while (answer := await post(f"/orders{ID}", {"n": 3}))[0] == 404:
                await asyncio.sleep(PAUSE)
        assert answer == (200, 6)
        seen = await happened.set_of(1)
        async with asyncio.timeout(DEADLINE):
            while not seen >= {"heard 6", "low 3", "told", "tick"}:
                seen |= await happened.set_of(1)
        dead = dead_letters(f"orders{ID}.fail")
        async with asyncio.timeout(DEADLINE):
            while (delivery := await door.get(dead)) is None:
                pass
        delivery.ack()
        # A gateway may see all queues but those with names of the users' own.
        report = await inspect_mesh(settings.broker_address, services, wait=5)
        assert [each for each in report.findings if each.level == "problem"] == []
    assert "ACCESS_REFUSED" not in caplog.text
    assert "access to" not in caplog.text
