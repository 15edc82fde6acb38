"""Mesh-wide slots when something breaks: none lost, none made, and shared fairly."""

import asyncio
import logging
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from slot_tokens import all_back, tokens_of
from waiting import PAUSE

from eventmesh.brokers.rabbitmq.coordination import recount, slots, tokens
from eventmesh.brokers.rabbitmq.coordination.slots import hold_slots
from eventmesh.brokers.rabbitmq.coordination.tokens import find_tokens
from eventmesh.model.errors import BrokerUnavailable, Throttled
from eventmesh.model.topology import named


@pytest.fixture
def name(function):
    return f"em.slots.{function}"


async def take_all(stack, client, name, count, soon):
    """Take all slots there are for a moment; one more there is not."""
    held = await stack.enter_async_context(hold_slots(client.management, name, count))
    for _ in range(count):
        await soon(held.acquire())
    async with asyncio.TaskGroup() as tasks:
        more = tasks.create_task(held.acquire())
        assert (await client.management.depth(named((await tokens_of(client, name)).queue))) == 0
        assert not more.done()
        more.cancel()


async def test_what_is_not_used_goes_back(client, name, soon):
    async with hold_slots(client.management, name, 3) as held:
        for _ in range(3):
            await soon(held.acquire())
        for _ in range(3):
            held.release()
        await all_back(client, name, 3)


async def test_a_wait_that_was_given_up_leaves_no_consumer(client, name, soon):
    async with (
        hold_slots(client.management, name, 1) as held,
        hold_slots(client.management, name, 1) as waiting,
        asyncio.TaskGroup() as tasks,
    ):
        await soon(held.acquire())
        given_up = [tasks.create_task(waiting.acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        for each in given_up:
            each.cancel()
        held.release()
        await all_back(client, name, 1)


async def test_processes_take_turns(connecting, rabbitmq_url, client, name, monkeypatch):
    monkeypatch.setattr(slots, "TURN_SECONDS", 0.02)
    turns = {"one": asyncio.Semaphore(0), "two": asyncio.Semaphore(0)}

    async def work(held, turn):
        while True:
            await held.acquire()
            turn.release()
            await asyncio.sleep(PAUSE)
            held.release()

    async with (
        connecting(rabbitmq_url) as other,
        hold_slots(client.management, name, 1) as ours,
        hold_slots(other.management, name, 1) as theirs,
        asyncio.TaskGroup() as tasks,
    ):
        working = [
            tasks.create_task(work(held, turns[who]))
            for held, who in ((ours, "one"), (theirs, "two"))
            for _ in range(3)
        ]
        async with asyncio.timeout(60):
            for _ in range(5):
                await turns["one"].acquire()
                await turns["two"].acquire()
        for each in working:
            each.cancel()


async def test_a_token_is_used_again_without_asking_the_broker(client, name, soon):
    async with hold_slots(client.management, name, 1) as held:
        await soon(held.acquire())
        for _ in range(1000):
            held.release()
            # Ready at once: nothing waits for the broker.
            await asyncio.wait_for(held.acquire(), 60)
        held.release()


async def test_the_slots_of_a_lost_process_are_given_to_others(
    rabbitmq, connecting, client, name, soon
):
    async with AsyncExitStack() as stack:
        lost = await stack.enter_async_context(connecting(rabbitmq.url, f"{name} lost"))
        theirs = await stack.enter_async_context(hold_slots(lost.management, name, 2))
        await soon(theirs.acquire())
        await soon(theirs.acquire())
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(take_all(stack, client, name, 2, soon))
            theirs.close()
            await rabbitmq.close_connections(f"{name} lost")
            for _ in range(2):
                theirs.release()
            await soon(waiting)


async def test_runs_that_lost_their_slots_get_them_again_before_others(
    rabbitmq, connecting, client, name, soon, caplog
):
    caplog.set_level(logging.INFO, logger="eventmesh.rabbitmq")
    async with (
        connecting(rabbitmq.url, f"{name} mine") as unlucky,
        hold_slots(unlucky.management, name, 2) as held,
        asyncio.TaskGroup() as tasks,
    ):
        await soon(held.acquire())
        await soon(held.acquire())
        await rabbitmq.close_connections(f"{name} mine")
        async with asyncio.timeout(60):
            while "2 runs go on without their slots" not in caplog.text:
                await asyncio.sleep(PAUSE)
        await client.depth_reaches(named((await tokens_of(client, name)).queue), 0)
        async with hold_slots(client.management, name, 2) as others:
            waiting = tasks.create_task(others.acquire())
            await tokens_of(client, name)
            assert not waiting.done()
            held.release()
            await soon(waiting)
            held.release()


@pytest.mark.disruptive
async def test_killed_channels_cost_no_slot(rabbitmq, client, name, soon):
    async with AsyncExitStack() as stack:
        async with hold_slots(client.management, name, 3) as held:
            for _ in range(3):
                await soon(held.acquire())
            await rabbitmq.kill_channels()
        await take_all(stack, client, name, 3, soon)


@pytest.mark.disruptive
async def test_slots_outlive_the_broker(rabbitmq, connecting, name, soon):
    async with connecting(rabbitmq.url) as client, AsyncExitStack() as stack:
        async with hold_slots(client.management, name, 3) as held:
            await soon(held.acquire())
            await rabbitmq.restart()
            held.release()
            await soon(held.acquire())
        await take_all(stack, client, name, 3, soon)


async def test_whoever_waits_gets_a_slot_once_the_broker_is_there(
    proxy, rabbitmq, connecting, name, soon
):
    await proxy.refuse()
    async with (
        connecting(proxy.url(rabbitmq.url)) as client,
        hold_slots(client.management, name, 1) as held,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(held.acquire())
        await asyncio.sleep(0)
        await proxy.forward()
        await soon(waiting)


async def test_closing_ends_the_wait(client, name, soon):
    async with asyncio.TaskGroup() as tasks:
        async with hold_slots(client.management, name, 1) as held:
            await soon(held.acquire())
            waiting = tasks.create_task(unavailable(held.acquire()))
            await asyncio.sleep(0)
        await soon(waiting)
        await unavailable(held.acquire())


async def unavailable(call):
    with pytest.raises(BrokerUnavailable, match="closed"):
        await call


async def test_a_slot_that_another_user_made_lets_no_more_run(client, soon, caplog, until):
    # The tests log in as "guest", which is then the user of the service "guest".
    name = f"em.slots.guest.f{uuid4().hex[:8]}"
    async with (
        hold_slots(client.management, name, 1) as held,
        hold_slots(client.management, name, 1) as waiting,
        asyncio.TaskGroup() as tasks,
    ):
        await soon(held.acquire())
        more = tasks.create_task(waiting.acquire())
        await client.publish((await tokens_of(client, name)).queue)
        await until(lambda: "a slot that its service did not make is dropped" in caplog.text)
        assert not more.done()
        held.release()
        await soon(more)
        waiting.release()
        await all_back(client, name, 1)


async def waiting_for_one(stack, client, name, count, soon):
    """Hold all slots of a process, and have another process wait for one."""
    ours = await stack.enter_async_context(hold_slots(client.management, name, count))
    for _ in range(count):
        await soon(ours.acquire())
    theirs = await stack.enter_async_context(hold_slots(client.management, name, count))
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    return ours, tasks.create_task(theirs.acquire())


async def test_lost_slots_are_made_anew(client, name, soon, monkeypatch, caplog):
    monkeypatch.setattr(slots, "STARVED_SECONDS", 0.1)
    before = await find_tokens(client.management, name, 3, insist=True)
    assert await client.management.purge(named(before.queue)) == 3
    async with hold_slots(client.management, name, 3) as held:
        for _ in range(3):
            await soon(held.acquire())
        assert "3 of 3 slots are lost" in caplog.text
        for _ in range(3):
            held.release()
        assert (await tokens_of(client, name)).queue != before.queue
        await all_back(client, name, 3)


async def test_those_that_are_held_are_not_counted_as_lost(client, name, soon, monkeypatch):
    # On a slow machine a count takes its time.
    monkeypatch.setattr(recount, "PROBE_SECONDS", 60.0)
    async with AsyncExitStack() as stack:
        ours, waiting = await waiting_for_one(stack, client, name, 2, soon)
        queue = (await tokens_of(client, name)).queue
        # Who waits has its consumer a moment later.
        async with asyncio.timeout(60):
            while await client.management.count_consumers(named(queue)) < 3:
                pass
        assert await recount.count_held(client.management, queue) == 2
        assert not await tokens.replace_lost(client.management, name, queue, 1000.0)
        assert not waiting.done()
        ours.release()
        await soon(waiting)


async def test_slots_are_looked_for_once_for_all_processes(client, name):
    queue = (await find_tokens(client.management, name, 2, insist=True)).queue
    await client.management.purge(named(queue))
    assert await tokens.replace_lost(client.management, name, queue, 1000.0)
    queue = (await tokens_of(client, name)).queue
    assert not await tokens.replace_lost(client.management, name, queue, 1000.0)
    assert not await tokens.replace_lost(client.management, name, queue, 1010.0)
    await client.management.purge(named(queue))
    assert await tokens.replace_lost(client.management, name, queue, 2000.0)


async def test_a_queue_that_could_not_be_filled_is_deleted(rabbitmq, client, name, monkeypatch):
    full = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    monkeypatch.setattr(tokens, "token_arguments", lambda _: full)
    with pytest.raises(BrokerUnavailable):
        await find_tokens(client.management, name, 2, insist=True)
    left = [queue for queue in await rabbitmq.queues() if queue.startswith(f"{name}.")]
    assert left == [f"{name}.lease"]


async def test_what_waits_where_there_are_no_slots_is_handed_back(
    client, name, soon, monkeypatch, caplog
):
    monkeypatch.setattr(slots, "HAND_BACK_SECONDS", 0.2)
    ended = asyncio.Event()
    reconnect = client.management.reconnect

    async def find_none(*args, **options):
        raise BrokerUnavailable("no route")

    async def note(reason):
        await reconnect(reason)
        ended.set()

    monkeypatch.setattr(slots, "find_tokens", find_none)
    monkeypatch.setattr(client.management, "reconnect", note)
    await client.management.server()
    async with hold_slots(client.management, name, 2) as held:
        with pytest.raises(Throttled):
            await soon(held.acquire())
        await soon(ended.wait())
        monkeypatch.setattr(slots, "HAND_BACK_SECONDS", 60.0)
        monkeypatch.setattr(slots, "find_tokens", find_tokens)
        await soon(held.acquire())
    assert "handed back" in caplog.text
