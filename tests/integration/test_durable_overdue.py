"""Executions whose messages are late or lost: time counts for them all the same."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from eventmesh import DurableContext, Retry, Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.durable.keeper import ExecutionFilter
from eventmesh.engine.executions.mesh import MeshExecutions
from eventmesh.engine.settlement import MAX_CRASHES, MAX_HAND_BACKS
from eventmesh.executions.upkeep.overdue import OVERDUE_SECONDS, SWEEP_SECONDS
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox

SWEPT = OVERDUE_SECONDS + 2 * SWEEP_SECONDS


@pytest.fixture
def shop():
    service = Service("shop")

    @service.function(durable=True, execution_timeout="10m", timeout=5, retry=Retry(max_age=20))
    async def ship(seconds: int, ctx: DurableContext) -> str:
        await ctx.wait(seconds)
        return "shipped"

    return service


@pytest.fixture
def running(manual_clock, tmp_path, shop):
    """Run the service on a broker while entered."""

    @asynccontextmanager
    async def running(broker):
        settings = Settings(store=f"sqlite:///{tmp_path}/shop.db")
        async with host_services((shop,), broker, settings, clock=manual_clock, http=None) as host:

            async def functions():
                return list(host.functions)

            yield host, MeshExecutions(broker, manual_clock, functions)

    return running


@pytest.fixture
def until(manual_clock):
    """Let time pass in small parts until the only execution is as a test wants it."""

    async def until(executions, wanted):
        async with asyncio.timeout(60):
            while True:
                found, _ = await executions.list(ExecutionFilter())
                if found and wanted(found[0]):
                    return await executions.show(found[0].id)
                # A turn that runs takes real time: none of its own passes meanwhile.
                if not (found and found[0].running):
                    await manual_clock.advance(0.1)
                await asyncio.sleep(0.001)

    return until


@pytest.fixture
async def asleep(running, until, manual_clock):
    """Begin an execution that waits for some seconds, and stop the service; the broker is given."""

    async def asleep(broker, seconds):
        async with running(broker) as (host, executions):
            await host.caller.send("shop.ship", {"seconds": seconds})
            await until(executions, lambda found: found.due is not None and not found.running)
            while await host.stores.wait_idle():
                pass  # Its wake is at the broker, and no longer in the outbox.

    return asleep


@pytest.mark.parametrize(
    ("seconds", "status", "result"), [(60, "SUCCEEDED", '"shipped"'), (900, "TIMED_OUT", None)]
)
async def test_what_lost_its_message_wakes_and_times_out(
    running, until, asleep, manual_clock, seconds, status, result
):
    async with MemoryBroker(manual_clock) as broker:
        await asleep(broker, seconds)
    # Of another broker nothing is there.
    async with MemoryBroker(manual_clock) as broker, running(broker) as (_, executions):
        await manual_clock.advance(min(seconds, 600))
        await manual_clock.advance(SWEPT)
        ended = await until(executions, lambda found: found.is_ended)
    assert (ended.status, ended.result) == (status, result)


async def test_a_turn_waits_for_its_service_longer_than_other_invocations_may(
    running, until, asleep, manual_clock
):
    """A service that was stopped over a weekend goes on with what it had begun."""
    async with MemoryBroker(manual_clock) as broker:
        await asleep(broker, 60)
        await manual_clock.advance("110s")
        async with running(broker) as (_, executions):
            ended = await until(executions, lambda found: found.is_ended)
    assert (ended.status, ended.result) == ("SUCCEEDED", '"shipped"')


async def test_a_wake_that_became_a_dead_letter_is_not_missed(running, until, asleep, manual_clock):
    queue = inbox("shop.ship")
    async with MemoryBroker(manual_clock) as broker:
        await asleep(broker, 60)
        await manual_clock.advance(61)
        assert await broker.depth(queue) == 1
        for _ in range(MAX_HAND_BACKS + MAX_CRASHES + 1):
            async with broker.consume(queue, lambda _: None, prefetch=1):
                pass  # As if it had killed its process.
        async with running(broker) as (_, executions):
            async with asyncio.timeout(60):
                while not await broker.depth(dead_letters("shop.ship")):
                    await asyncio.sleep(0.001)
            await manual_clock.advance(SWEPT)
            ended = await until(executions, lambda found: found.is_ended)
    assert (ended.status, ended.result) == ("SUCCEEDED", '"shipped"')
