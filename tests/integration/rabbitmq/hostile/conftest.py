# ruff: noqa: SLF001 - whether a connection was opened again is nobody else's business
"""A service and a gateway as the victims, and a user of RabbitMQ who may write everywhere."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from pamqp import commands

from eventmesh import Context, Retry, Service, on
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.settings import Settings
from eventmesh.processes.worker import serve_gateway, serve_services

WRITES_ONLY = ("^$", r"^(em\..*|amq\.default|bank\..*)$", "^$")
EVERYTHING = (".*", ".*", ".*")
SECONDS = 60.0
"""Real seconds in which anything that is expected has happened."""


def build_service(name: str, running: asyncio.Event, enough: asyncio.Event) -> Service:
    """A service with one function for each kind of queue."""
    service = Service(name)

    @service.function(on.post("/pay"), retry=Retry(2, initial=0.05, jitter="none"))
    async def pay(amount: int) -> int:
        return amount

    @service.function(on.event("order.placed"))
    async def placed(order: dict) -> None: ...

    @service.function(on.event("order.placed", broadcast=True))
    async def everywhere(order: dict) -> None: ...

    @service.function(on.queue("bank.statements"))
    async def statement(line: dict) -> None: ...

    @service.function(on.queue("bank.lines", batch=10, batch_window=0.05))
    async def lines(lines: list[dict]) -> None: ...

    @service.function(on.every("1h"))
    async def hourly() -> None: ...

    @service.function(reserved_concurrency=1)
    async def limited() -> int:
        return 1

    @service.function(reserved_concurrency=1, concurrency=5, timeout=60)
    async def counted() -> None:
        running.set()
        await enough.wait()

    @service.function
    async def who(ctx: Context) -> str:
        return f"{ctx.caller}|{ctx.invocation.principal}"

    return service


@dataclass
class Victim:
    """What a hostile message must not end."""

    name: str
    broker: RabbitBroker
    host: object
    gateway_broker: RabbitBroker
    http: ClientSession
    node: object
    virtual_host: str
    running: asyncio.Event
    enough: asyncio.Event

    def connections(self):
        """Those that carry messages: none of them may have been opened again."""
        return [
            (broker._publishing.current, broker._consuming.current)
            for broker in (self.broker, self.gateway_broker)
        ]

    def lost(self):
        """How many connections for all else were lost."""
        return [
            connection.connection_generation
            for broker in (self.broker, self.gateway_broker)
            for connection in (broker._management.connection, broker._management.publish_connection)
        ]

    async def answers(self):
        """Wait until each way to the service has answered."""
        call = self.host.caller.invoke
        async with asyncio.timeout(SECONDS):
            assert await call(f"{self.name}.pay", {"amount": 7}) == 7
            assert await call(f"{self.name}.limited", timeout=SECONDS) == 1
            async with self.http.post("/pay", json={"amount": 8}) as answered:
                assert (answered.status, await answered.json()) == (200, 8)

    async def drained(self, queue):
        async with asyncio.timeout(SECONDS):
            while await self.broker.depth(queue):
                pass


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


@pytest.fixture
async def login(rabbitmq, url):
    """Makes a user with permissions, and gives the URL with which it logs in."""
    address, made = parse_address(url), []

    async def login(name, permissions):
        await rabbitmq.ctl("add_user", name, "secret")
        made.append(name)
        await rabbitmq.ctl("set_permissions", "-p", address.virtual_host, name, *permissions)
        return url.replace(f"{address.user}:{address.password}@", f"{name}:secret@")

    yield login
    for name in made:
        await rabbitmq.ctl("delete_user", name)


@pytest.fixture
async def victim(login, rabbitmq, url):
    name = f"bank_{uuid4().hex}"
    running, enough = asyncio.Event(), asyncio.Event()
    service = build_service(name, running, enough)
    gateway = f"gateway_{uuid4().hex}"
    settings = Settings(
        http_port=0, grace=5, broker_users="per-service", gateways=(gateway,), broker="amqp://x"
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        broker = await enter(RabbitBroker(await login(name, EVERYTHING), connect_timeout=SECONDS))
        front = await enter(RabbitBroker(await login(gateway, EVERYTHING), connect_timeout=SECONDS))
        host = await enter(serve_services([service], broker, settings))
        relay = await enter(serve_gateway(front, settings))
        http = await enter(ClientSession(relay.addresses["http"]))
        virtual_host = parse_address(url).virtual_host
        victim = Victim(name, broker, host, front, http, rabbitmq, virtual_host, running, enough)
        async with asyncio.timeout(SECONDS):
            while (await http.post("/pay", json={"amount": 1})).status != 200:
                pass
        yield victim
        enough.set()


@pytest.fixture
async def write(login):
    """Publishes bytes as properties and body, as a user who may only write."""
    address = parse_address(await login(f"evil_{uuid4().hex}", WRITES_ONLY))
    opened = [await connect(address, "evil")]

    async def write(key, properties, body, exchange=""):
        """Say whether RabbitMQ took it: it closes the connection for some."""
        if opened[-1].closed.done():
            opened.append(await connect(address, "evil"))
        channel = await opened[-1].open_channel(commands.Confirm.Select())
        target = publish_target(exchange, key, mandatory=False)
        try:
            await channel.publish(target, properties, body, "")
        except (BrokerUnavailable, Refused):
            return False
        finally:
            channel.abandon()
        return True

    yield write
    await opened[-1].close()
