"""Services with users of their own, from the definitions that `eventmesh export broker` writes."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import aiormq
import pytest
from waiting import DEADLINE

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.access.definitions import build_definitions
from eventmesh.brokers.rabbitmq.access.permissions import (
    Rights,
    gateway_permissions,
    permissions,
)
from eventmesh.model.topology import Binding, broadcast, inbox, named, rpc_queue

PASSWORD = "secret"


@dataclass
class Mesh:
    """A virtual host with two services: `evil`, which was taken over, and `shop`."""

    host: str
    vhost: str
    evil: str
    shop: str
    gateway: str

    def url(self, user, options=""):
        return f"amqp://{user}:{PASSWORD}@{self.host}/{self.vhost}{options}"

    def broker(self, user):
        """The broker as a process of that service opens it."""
        return RabbitBroker(
            self.url(user, f"?users=per-service&gateways={self.gateway}"), connect_timeout=DEADLINE
        )

    @asynccontextmanager
    async def channel(self, user):
        """A channel without any of our code between it and RabbitMQ."""
        connection = await aiormq.connect(self.url(user))
        try:
            yield await connection.channel(publisher_confirms=True)
        finally:
            await connection.close()


def rights(evil, shop):
    return [
        Rights(
            evil,
            (f"{evil}.f",),
            queues=("evil.q",),
            patterns=("stock.*", "stock.low"),
            calls=(f"{shop}.open", f"{shop}.late", f"{shop}.never", f"{evil}.f"),
            emits=("order.placed",),
        ),
        Rights(
            shop,
            (f"{shop}.open", f"{shop}.secret", f"{shop}.late"),
            queues=("money",),
            patterns=("payment.*", "payment.approved", "order.placed"),
            calls=(f"{shop}.secret", f"{evil}.f"),
            emits=("stock.low", "payment.approved"),
        ),
    ]


async def _declare(mesh):
    """What the services have declared before anything happens."""
    async with mesh.broker(mesh.shop) as shop, mesh.broker(mesh.evil) as evil:
        await shop.declare(
            [inbox(f"{mesh.shop}.open"), inbox(f"{mesh.shop}.secret"), named("money")]
        )
        await shop.declare([rpc_queue(f"{mesh.shop}.open", 5), rpc_queue(f"{mesh.shop}.secret", 5)])
        queue = inbox(f"{mesh.shop}.open")
        await shop.declare([queue], [Binding(queue, "payment.*")])
        approved = broadcast(f"{mesh.shop}.open", "1")
        await shop.declare([approved], [Binding(approved, "payment.approved")])
        await evil.declare([inbox(f"{mesh.evil}.f"), named("evil.q")])


def import_definitions(node, definitions):
    """Have a node take definitions; it says "ok" only if it took all of them."""
    text = base64.b64encode(json.dumps(definitions).encode()).decode()
    said = node.control("eval", f'rabbit_definitions:import_raw(base64:decode("{text}")).')
    assert said.strip() == "ok", said


@pytest.fixture(scope="session")
def rights_of_both():
    return rights


@pytest.fixture(scope="session")
def importing():
    return import_definitions


@pytest.fixture(scope="module")
def mesh(shared_node):
    """The mesh of all tests of a module."""
    id = uuid4().hex[:8]
    made = Mesh(
        f"{shared_node.host}:{shared_node.port}",
        f"test-{id}",
        f"evil{id}",
        f"shop{id}",
        f"gateway{id}",
    )
    both = rights(made.evil, made.shop)
    users = [*map(permissions, both), gateway_permissions(made.gateway)]
    definitions = build_definitions(
        made.vhost, users, both, {user.user: PASSWORD for user in users}
    )
    try:
        import_definitions(shared_node, definitions)
        asyncio.run(_declare(made))
        yield made
    finally:
        for user in users:
            shared_node.control("delete_user", user.user)
        shared_node.control("delete_vhost", made.vhost)
