"""After the connection is closed: errors at once, never a hang."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import (
    dead_letters,
    inbox,
    lease_name,
    rpc_queue,
    slots_name,
    to_function,
    to_rpc,
)


async def test_it_is_ready_while_it_is_open(mesh):
    async with mesh.connect() as broker:
        assert broker.ready
    assert not broker.ready


async def test_everything_raises_once_it_is_closed(mesh, service, function):
    async with mesh.connect() as broker:
        await broker.declare([inbox(function), rpc_queue(function, 10)])

    queue = inbox(function)
    for call in (
        broker.declare([queue]),
        broker.publish(to_function(function), mesh.message()),
        broker.publish(to_function(function), mesh.message(), delay=60),
        broker.request(to_rpc(function), mesh.request()),
        broker.get(dead_letters(function)),
        broker.depth(queue),
        broker.purge(queue),
    ):
        with pytest.raises(BrokerUnavailable, match="closed"):
            await mesh.soon(call)
    for enter in (
        lambda: broker.consume(queue, mesh.collector(), prefetch=1),
        lambda: broker.slots(slots_name(function), 1),
        lambda: broker.lease(lease_name(service)),
    ):
        with pytest.raises(BrokerUnavailable, match="closed"):
            async with enter():
                pytest.fail("it was entered")


async def test_a_reply_after_it_is_closed_does_nothing(mesh):
    async with mesh.connect() as broker:
        pass
    broker.reply(mesh.message(), mesh.message())


async def test_closing_ends_open_requests(mesh, function):
    async with asyncio.TaskGroup() as calls:
        async with mesh.connect() as broker:
            await broker.declare([rpc_queue(function, 10)])
            call = calls.create_task(unavailable(broker.request(to_rpc(function), mesh.request())))
            await mesh.depth_reaches(broker, rpc_queue(function, 10), 1)
        await mesh.soon(call)


async def test_closing_ends_the_wait_for_a_slot_and_for_a_lease(mesh, service, function):
    async with AsyncExitStack() as held, asyncio.TaskGroup() as waits:
        async with mesh.connect() as broker:
            slots = await held.enter_async_context(broker.slots(slots_name(function), 1))
            lease = await held.enter_async_context(broker.lease(lease_name(service)))
            await slots.acquire()
            slot = waits.create_task(unavailable(slots.acquire()))
            turn = waits.create_task(unavailable(enter(broker.lease(lease_name(service)))))
            await asyncio.sleep(0)
        await mesh.soon(slot)
        await mesh.soon(turn)
        await unavailable(slots.acquire())
        await unavailable(lease.save(b"1"))


async def test_an_answer_after_it_is_closed_does_nothing(mesh, function):
    received = mesh.collector()
    async with mesh.connect() as broker:
        await broker.declare([inbox(function)])
        for _ in range(2):
            await broker.publish(to_function(function), mesh.message())
        async with broker.consume(inbox(function), received, prefetch=2):
            first, second = await received.take(2)
    first.ack()
    second.requeue()
    assert len(received.times) == 2


async def unavailable(call):
    with pytest.raises(BrokerUnavailable):
        await call


async def enter(context):
    async with context:
        pytest.fail("it was entered")
