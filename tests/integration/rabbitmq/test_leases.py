"""Leases when something breaks: one holder, the newest state, and a loss that is noticed."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from waiting import DEADLINE, PAUSE

from eventmesh.brokers.rabbitmq import error_translation as faults
from eventmesh.brokers.rabbitmq.coordination import lease
from eventmesh.brokers.rabbitmq.coordination.lease import hold_lease
from eventmesh.brokers.rabbitmq.management import connection as management_connection
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import named


@pytest.fixture
def name(function):
    return f"em.timers.{function}"


async def hold_for_ever(client, name, held, state=b"state"):
    """Hold a lease until it is lost; `held` is set once it is ours and its state is stored."""
    async with hold_lease(client.management, name) as ours:
        await ours.save(state)
        held.set()
        await asyncio.get_running_loop().create_future()


async def lost(work):
    with pytest.raises(BrokerUnavailable, match="is lost"):
        await work


async def next_state(client, name):
    """Take the lease for a moment, and say what state was left."""
    async with hold_lease(client.management, name) as ours:
        return ours.state


async def test_a_holder_that_loses_its_connection_is_stopped_and_followed(
    rabbitmq, connecting, client, name, soon
):
    async with connecting(rabbitmq.url, f"{name} mine") as other, asyncio.TaskGroup() as tasks:
        held = asyncio.Event()
        holder = tasks.create_task(lost(hold_for_ever(other, name, held)))
        await soon(held.wait())
        follower = tasks.create_task(next_state(client, name))
        await rabbitmq.close_connections(f"{name} mine")
        await soon(holder)
        assert await soon(follower) == b"state"


@pytest.mark.disruptive
async def test_a_holder_whose_channel_ends_is_stopped(rabbitmq, client, name, soon):
    async with asyncio.TaskGroup() as tasks:
        held = asyncio.Event()
        holder = tasks.create_task(lost(hold_for_ever(client, name, held)))
        await soon(held.wait())
        await rabbitmq.kill_channels()
        await soon(holder)
    assert await next_state(client, name) == b"state"


async def test_whom_nothing_reaches_goes_to_the_end_of_the_line(client, name, soon, monkeypatch):
    # As where a member of the queue stands still: RabbitMQ has delivered, and nothing comes.
    monkeypatch.setattr(lease, "TURN_SECONDS", 0.5)
    heard_by = []

    class DeafAtFirst(lease.RabbitLease):
        async def _on_message(self, message):
            heard_by.append(self)
            if self is not heard_by[0]:
                await super()._on_message(message)
            monkeypatch.setattr(lease, "TURN_SECONDS", DEADLINE)

    monkeypatch.setattr(lease, "RabbitLease", DeafAtFirst)
    assert await soon(next_state(client, name)) == b""


async def test_a_holder_whose_queue_is_deleted_is_stopped(rabbitmq, client, name, soon):
    async with asyncio.TaskGroup() as tasks:
        held = asyncio.Event()
        holder = tasks.create_task(lost(hold_for_ever(client, name, held)))
        await soon(held.wait())
        await rabbitmq.delete_queue(name)
        await soon(holder)
    assert await next_state(client, name) == b""


async def test_whoever_waits_is_told_when_the_connection_is_lost(
    rabbitmq, connecting, client, name, soon
):
    async with (
        connecting(rabbitmq.url, f"{name} mine") as other,
        hold_lease(client.management, name),
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(lost(next_state(other, name)))
        await consumers_reach(rabbitmq, name, 2)
        await rabbitmq.close_connections(f"{name} mine")
        await soon(waiting)


async def test_a_holder_that_falls_silent_is_followed(
    proxy, rabbitmq, connecting, client, name, soon, monkeypatch
):
    # Longer than anything here stands still.
    monkeypatch.setattr(management_connection, "HEARTBEAT_SECONDS", 4)
    async with (
        connecting(proxy.url(rabbitmq.url)) as other,
        asyncio.TaskGroup() as tasks,
    ):
        held = asyncio.Event()
        holder = tasks.create_task(lost(hold_for_ever(other, name, held)))
        await soon(held.wait())
        proxy.stall()
        assert await soon(next_state(client, name)) == b"state"
        monkeypatch.setattr(management_connection, "CLOSE_SECONDS", 1.0)
        await soon(holder)


@pytest.mark.disruptive
async def test_the_state_outlives_the_broker(rabbitmq, connecting, name, soon):
    async with connecting(rabbitmq.url) as client:
        async with asyncio.TaskGroup() as tasks:
            held = asyncio.Event()
            holder = tasks.create_task(lost(hold_for_ever(client, name, held)))
            await soon(held.wait())
            await rabbitmq.restart()
            await soon(holder)
        assert await next_state(client, name) == b"state"


@pytest.mark.disruptive
async def test_a_save_that_fails_loses_the_lease(rabbitmq, connecting, name, soon, monkeypatch):
    async def save_until_it_fails(client):
        async with hold_lease(client.management, name) as ours:
            await ours.save(b"stored")
            await rabbitmq.raise_memory_alarm()
            monkeypatch.setattr(faults, "CALL_SECONDS", 1.0)
            monkeypatch.setattr(management_connection, "CLOSE_SECONDS", 1.0)
            # The alarm is raised a moment later. One message is still taken, then the connection
            # is blocked.
            while True:
                await soon(ours.save(b"stored or not"))

    async with connecting(rabbitmq.url) as client:
        with pytest.raises(BrokerUnavailable, match="could not be stored"):
            await save_until_it_fails(client)
        await rabbitmq.clear_memory_alarm()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_states_the_newer_one_counts(client, name, order):
    async with hold_lease(client.management, name) as ours:
        await ours.save(b"old")
    # As if a holder had died after it published a state and before it acknowledged the last one.
    for version in order:
        await client.publish(name, b"%d" % version, headers={lease.EPOCH: 9, lease.NUMBER: version})
    assert await next_state(client, name) == b"1"
    # A quorum queue takes back what was held a moment after the channel was closed.
    await client.depth_reaches(named(name), 1)


async def test_what_a_lost_holder_stores_late_does_not_count(client, name):
    async with hold_lease(client.management, name) as ours:
        await ours.save(b"first")
    async with hold_lease(client.management, name) as ours:
        await client.publish(name, b"late", headers={lease.EPOCH: 1, lease.NUMBER: 99})
        await ours.save(b"second")
    assert await next_state(client, name) == b"second"


async def test_what_others_put_into_the_queue_does_no_harm(client, name):
    async with hold_lease(client.management, name) as ours:
        await ours.save(b"state")
        for _ in range(lease.PREFETCH + 20):
            await client.publish(name, b"what is this?", headers={lease.EPOCH: "x"})
    for _ in range(20):
        await client.publish(name, b"and this?")
    assert await next_state(client, name) == b"state"


async def test_a_lease_that_was_emptied_can_be_taken_again(rabbitmq, client, name, soon):
    async with hold_lease(client.management, name) as ours:
        await ours.save(b"state")
    await client.management.purge(named(name))
    assert await soon(next_state(client, name)) == b""


async def test_a_state_that_is_held_for_long_is_stored_again(client, name, soon, monkeypatch):
    monkeypatch.setattr(lease, "REFRESH_SECONDS", 0.05)
    async with hold_lease(client.management, name) as ours:
        await ours.save(b"state")
        version = ours.version
        async with asyncio.timeout(DEADLINE):
            while ours.version.number < version.number + 3:
                await asyncio.sleep(PAUSE)
        assert ours.state == b"state"
    assert await soon(next_state(client, name)) == b"state"


async def test_cancelling_the_holder_hands_it_on(client, name, soon):
    held = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        holder = tasks.create_task(hold_for_ever(client, name, held))
        await soon(held.wait())
        holder.cancel()
    assert holder.cancelled()
    assert await soon(next_state(client, name)) == b"state"


async def test_closing_the_broker_leaves_the_block_alone(connecting, rabbitmq_url, name):
    async with AsyncExitStack() as stack:
        async with connecting(rabbitmq_url) as client:
            ours = await stack.enter_async_context(hold_lease(client.management, name))
        await lost(ours.save(b"state"))
        await asyncio.sleep(0)


async def test_a_large_state_is_stored(client, name, soon):
    state = bytes(range(256)) * 8000
    async with hold_lease(client.management, name) as ours:
        await ours.save(state)
    assert await soon(next_state(client, name)) == state


async def test_saving_at_once_stores_the_last(client, name, soon):
    async with hold_lease(client.management, name) as ours, asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(ours.save(b"%d" % number))
    assert await soon(next_state(client, name)) == b"49"


async def consumers_reach(rabbitmq, name, count):
    async with asyncio.timeout(60):
        while (await rabbitmq.queues())[name]["consumers"] != count:
            pass


async def test_a_state_that_another_user_wrote_is_dropped(client):
    # The tests log in as "guest", which is then the user of the service "guest".
    name = f"em.timers.guest.{uuid4().hex[:8]}"
    async with hold_lease(client.management, name) as ours:
        await ours.save(b"ours")
    await client.publish(name, b"forged", headers={lease.EPOCH: 2**40, lease.NUMBER: 1})
    assert await next_state(client, name) == b"ours"
    await client.depth_reaches(named(name), 1)
