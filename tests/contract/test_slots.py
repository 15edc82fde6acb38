"""Mesh-wide slots: never more than there are, and none lost."""

import asyncio
import random

import pytest
from waiting import DEADLINE

from eventmesh.model.topology import slots_name


@pytest.fixture
def name(function):
    return slots_name(function)


async def test_there_are_as_many_as_the_limit_says(mesh, broker, other, name):
    async with broker.slots(name, 2) as ours, other.slots(name, 2) as theirs:
        await mesh.soon(ours.acquire())
        await mesh.soon(theirs.acquire())
        async with asyncio.TaskGroup() as waits:
            third = waits.create_task(theirs.acquire())
            await asyncio.sleep(0)
            assert not third.done()
            ours.release()
            await mesh.soon(third)


@pytest.mark.parametrize("seed", range(5))
async def test_under_cancellation_none_is_exceeded_and_none_lost(mesh, broker, other, name, seed):
    chance = random.Random(seed)
    held, most = 0, 0

    async def hold(slots, passes):
        nonlocal held, most
        await slots.acquire()
        try:
            held += 1
            most = max(most, held)
            for _ in range(passes):
                await asyncio.sleep(0)
        finally:
            held -= 1
            slots.release()

    async with broker.slots(name, 3) as ours, other.slots(name, 3) as theirs:
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
            for _ in range(200):
                passes = chance.randrange(4)
                task = group.create_task(hold(chance.choice((ours, theirs)), passes))
                if chance.random() < 0.4:
                    asyncio.get_running_loop().call_soon(task.cancel)
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
        assert 1 <= most <= 3
        for slots in (ours, theirs, ours):
            await mesh.soon(slots.acquire())


async def test_a_cancelled_wait_does_not_stand_in_the_way(mesh, broker, name):
    async with broker.slots(name, 1) as slots:
        await mesh.soon(slots.acquire())
        async with asyncio.TaskGroup() as waits:
            given_up = waits.create_task(slots.acquire())
            next_one = waits.create_task(slots.acquire())
            await asyncio.sleep(0)
            given_up.cancel()
            slots.release()
            await mesh.soon(next_one)


async def test_leaving_gives_back_what_is_held(mesh, broker, other, name):
    async with other.slots(name, 1) as theirs:
        async with broker.slots(name, 1) as ours:
            await mesh.soon(ours.acquire())
        await mesh.soon(theirs.acquire())


async def test_the_limit_can_be_raised_while_others_wait(mesh, broker, other, name):
    async with broker.slots(name, 1) as ours:
        await mesh.soon(ours.acquire())
        async with asyncio.TaskGroup() as waits:
            second = waits.create_task(ours.acquire())
            await asyncio.sleep(0)
            assert not second.done()
            async with other.slots(name, 2):
                await mesh.soon(second)


async def test_the_limit_can_be_lowered(mesh, broker, other, name):
    async with broker.slots(name, 2) as ours:
        await mesh.soon(ours.acquire())
        await mesh.soon(ours.acquire())
        async with other.slots(name, 1) as theirs, asyncio.TaskGroup() as waits:
            third = waits.create_task(theirs.acquire())
            ours.release()
            await asyncio.sleep(0)
            assert not third.done()
            ours.release()
            await mesh.soon(third)


async def test_giving_back_what_is_not_held_makes_no_slot(mesh, broker, name):
    async with broker.slots(name, 1) as slots:
        slots.release()
        await mesh.soon(slots.acquire())
        async with asyncio.TaskGroup() as waits:
            second = waits.create_task(slots.acquire())
            await asyncio.sleep(0)
            assert not second.done()
            second.cancel()


async def test_slots_of_different_names_are_apart(mesh, broker, name):
    async with broker.slots(f"{name}.a", 1) as one, broker.slots(f"{name}.b", 1) as two:
        await mesh.soon(one.acquire())
        await mesh.soon(two.acquire())
