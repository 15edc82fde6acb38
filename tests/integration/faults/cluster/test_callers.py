"""What others wait for goes on while a node of the cluster is down: calls, copies, and slots."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from waiting import DEADLINE

from eventmesh.brokers.rabbitmq.broker import RabbitBroker
from eventmesh.model.errors import BrokerUnavailable, InvocationTimeout
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import Binding, broadcast, rpc_queue, to_rpc, to_subscribers

FUNCTIONS = [f"shop.f{number}" for number in range(6)]
"""More than nodes: each node leads the queues of some."""


def message():
    now = time.time()
    return Message(b"{}", new_id(), now, deadline=now + 5)


@pytest.fixture
async def url(cluster):
    """The addresses of all nodes."""
    places = ",".join(f"{host}:{port}" for host, port in cluster.addresses())
    return f"amqp://guest:guest@{places}/{await cluster.new_virtual_host()}"


async def serve(stack, url, copies):
    """Answer the callers of all functions, and keep copies of events."""
    broker = await stack.enter_async_context(RabbitBroker(url))

    def answer(delivery):
        broker.reply(delivery.message, message())
        delivery.ack()

    def keep(delivery):
        copies.append(delivery.message.id)
        delivery.ack()

    queues = [rpc_queue(function, 100) for function in FUNCTIONS]
    own = broadcast("shop.hear", new_id()[:12])
    await broker.declare(queues)
    await broker.declare([own], [Binding(own, "order.*")])
    for queue in queues:
        await stack.enter_async_context(broker.consume(queue, answer, prefetch=10))
    await stack.enter_async_context(broker.consume(own, keep, prefetch=10))
    return broker


async def call(client, function):
    """Call until it is answered: only what was under way may fail, and never as not found."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await client.request(to_rpc(function), message())
            except (BrokerUnavailable, InvocationTimeout):
                continue


async def test_calls_copies_and_slots_go_on_while_a_node_is_down(cluster, url, until):
    copies = [], []
    async with AsyncExitStack() as stack:
        servers = [await serve(stack, url, kept) for kept in copies]
        client = await stack.enter_async_context(RabbitBroker(url, connect_timeout=DEADLINE))
        for node in cluster.nodes:
            async with client.slots(f"em.slots.{new_id()}", 2) as slots:
                await slots.acquire()
                await node.kill()
                for function in FUNCTIONS:
                    await call(client, function)
                await until(lambda: all(server.ready for server in servers))
                async with asyncio.timeout(DEADLINE):
                    await slots.acquire()
                event = await emit(client)
                await until(lambda event=event: all(event in kept for kept in copies))
                # A service that starts meanwhile finds the queues, and serves.
                async with AsyncExitStack() as another:
                    await serve(another, url, [])
            await cluster.recover()


async def emit(client):
    """Send an event until it is stored, and return its id."""
    event = message()
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await client.publish(to_subscribers("order.placed"), event)
            except BrokerUnavailable:
                continue
            return event.id
