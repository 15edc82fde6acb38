"""The tokens that slots are: how many there are is agreed upon, whatever happens to them."""

import asyncio
import json

import pytest
from slot_tokens import all_back, tokens_of
from waiting import PAUSE

from eventmesh.brokers.rabbitmq.coordination import slots
from eventmesh.brokers.rabbitmq.coordination.lease import hold_lease
from eventmesh.brokers.rabbitmq.coordination.slots import hold_slots
from eventmesh.brokers.rabbitmq.coordination.tokens import Tokens, find_tokens
from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.model.topology import named


@pytest.fixture
def name(function):
    return f"em.slots.{function}"


@pytest.mark.parametrize("changed", [1, 5])
async def test_another_limit_makes_other_tokens(client, name, soon, changed):
    async with hold_slots(client.management, name, 3) as held:
        await soon(held.acquire())
        before = await tokens_of(client, name)
        async with hold_slots(client.management, name, changed) as others:
            await soon(others.acquire()) if changed > 1 else None
            async with asyncio.timeout(60):
                while (await tokens_of(client, name)) == before:
                    pass
            held.release()
        await all_back(client, name, changed)
        assert await client.management.depth(named(before.queue)) == 0
        assert await client.management.get(named(before.queue)) is None


async def test_old_tokens_are_deleted_once_their_node_is_there(client, name, soon, monkeypatch):
    """Clients of a node that was cut off go on with them, beside all others."""
    monkeypatch.setattr(slots, "RETIRE_SECONDS", 0.01)
    refused, delete = asyncio.Semaphore(0), client.management.delete

    async def refuse(queue):
        refused.release()
        raise QueueAway(f"the node of {queue} is away")

    async with hold_slots(client.management, name, 1) as held:
        await soon(held.acquire())
        old = await tokens_of(client, name)
        monkeypatch.setattr(client.management, "delete", refuse)
        async with hold_slots(client.management, name, 2) as others:
            await soon(others.acquire())
            for _ in range(3):
                await soon(refused.acquire())
            assert await client.management.count_consumers(named(old.queue)) == 1
            monkeypatch.setattr(client.management, "delete", delete)
            async with asyncio.timeout(60):
                while await client.management.count_consumers(named(old.queue)):
                    await asyncio.sleep(PAUSE)
            others.release()
            held.release()
        await all_back(client, name, 2)


async def test_a_limit_that_did_not_change_keeps_the_tokens(client, name):
    before = await find_tokens(client.management, name, 2, insist=True)
    assert await find_tokens(client.management, name, 2, insist=True) == before


async def test_after_a_lost_connection_the_limit_is_not_said_again(
    rabbitmq, connecting, client, name, soon
):
    async with (
        connecting(rabbitmq.url, f"{name} old") as old,
        hold_slots(old.management, name, 1) as held,
    ):
        await soon(held.acquire())
        async with hold_slots(client.management, name, 2) as others:
            await soon(others.acquire())
            await rabbitmq.close_connections(f"{name} old")
            held.release()
            await soon(held.acquire())
            assert (await tokens_of(client, name)).count == 2


async def test_tokens_that_were_deleted_are_made_again(rabbitmq, client, name, soon):
    async with hold_slots(client.management, name, 2) as held:
        await soon(held.acquire())
        await rabbitmq.delete_queue((await tokens_of(client, name)).queue)
        held.release()
        for _ in range(2):
            await soon(held.acquire())


async def test_what_a_crash_left_behind_is_cleared_away(client, name):
    left = f"{name}.left"
    await client.management.declare([named(left)])
    await client.publish(left)
    made = await find_tokens(client.management, name, 2, insist=True)
    async with hold_lease(client.management, f"{name}.lease") as lease:
        await lease.save(json.dumps(json.loads(lease.state) | {"retired": [left]}).encode())
    assert await find_tokens(client.management, name, 2, insist=True) == made
    assert await client.management.get(named(left)) is None
    async with hold_lease(client.management, f"{name}.lease") as lease:
        assert json.loads(lease.state)["retired"] == []


async def test_a_state_that_cannot_be_read_is_made_anew(client, name):
    async with hold_lease(client.management, f"{name}.lease") as lease:
        await lease.save(b'{"queue": 1}')
    made = await find_tokens(client.management, name, 2, insist=True)
    assert made == Tokens(made.queue, 2)
    assert await client.management.depth(named(made.queue)) == 2


async def test_many_processes_that_start_at_once_agree(client, connecting, rabbitmq_url, name):
    async with connecting(rabbitmq_url) as other, asyncio.TaskGroup() as tasks:
        finding = [
            tasks.create_task(find_tokens(each.management, name, 3, insist=True))
            for each in (client, other) * 4
        ]
    assert len({found.result().queue for found in finding}) == 1
    await all_back(client, name, 3)
