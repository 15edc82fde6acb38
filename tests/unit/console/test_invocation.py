"""What is said of an id: where it is, or that nobody knows it."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.console.sources import open_mesh_source
from eventmesh.console.state.invocation import find_invocation, found_members
from eventmesh.engine.context import Context
from eventmesh.host import host_services
from eventmesh.model.errors import DeclarationError
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.presence import announce
from eventmesh.processes.instance_info import build_instance
from eventmesh.service import Service
from eventmesh.testing.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def go():
    return asyncio.Event()


@pytest.fixture
def shop(go):
    service = Service("shop")

    @service.function
    async def wait() -> None:
        await go.wait()

    @service.function(retry=Retry(2, initial=60, jitter="none"))
    async def fail() -> None:
        raise ValueError("no")

    @service.function
    async def call(ctx: Context) -> None:
        await ctx.send("shop.fail", id="caused")

    return service


@pytest.fixture
def mesh(clock, shop):
    """Opens a mesh of one process, and what looks at it."""

    @asynccontextmanager
    async def opened():
        settings = Settings()
        async with (
            MemoryBroker(clock) as broker,
            host_services([shop], broker, settings, clock=clock, http=None) as host,
            announce(
                broker,
                clock,
                build_instance(host, [shop], settings, clock),
                partial(host.metrics.runs.look, host.instance),
            ),
            open_mesh_source(broker, None, clock) as source,
        ):
            await clock.settle()
            yield host, source

    return opened


async def find(source, id, clock):
    found = asyncio.ensure_future(find_invocation(source, id))
    await clock.advance(1)
    return await found


async def test_a_run_that_goes_on(mesh, clock, go):
    async with mesh() as (host, source):
        id = await host.caller.send("shop.wait")
        await clock.settle()
        found = await find(source, id, clock)
        assert (found.state, [run.function for _, run in found.runs]) == ("running", ["shop.wait"])
        assert host.instance in found.detail
        go.set()
        await clock.settle()
        assert (await find(source, id, clock)).state == "succeeded"


async def test_one_that_was_never_sent(mesh, clock):
    async with mesh() as (_, source):
        found = await find(source, "nonsense", clock)
    assert (found.state, found.runs, found.ended, found.dead) == ("unknown", [], [], [])
    assert found_members(found)["chain"] == []


async def test_what_can_be_no_id(mesh):
    async with mesh() as (_, source):
        with pytest.raises(DeclarationError, match="cannot have the id"):
            await find_invocation(source, "a\nb")


async def test_one_that_fails_is_delayed_then_a_dead_letter(mesh, clock):
    async with mesh() as (host, source):
        await host.caller.send("shop.fail", id="f")
        await clock.settle()
        began = clock.now()
        found = await find(source, "f", clock)
        assert found.state == "delayed"
        assert [each.until for each in found.delayed] == [began + 60]
        await clock.advance(60)
        found = await find(source, "f", clock)
        assert found.state == "failed"
        assert [letter.function for letter in found.dead] == ["shop.fail"]
        assert [run.attempt for _, run in found.ended] == [1, 2]


async def test_one_that_was_sent_with_a_delay(mesh, clock):
    async with mesh() as (host, source):
        id = await host.caller.send("shop.wait", delay="1h")
        found = await find(source, id, clock)
    assert found.state == "delayed"


async def test_the_chain_that_it_began(mesh, clock):
    async with mesh() as (host, source):
        id = await host.caller.send("shop.call")
        await clock.settle()
        members = found_members(await find(source, id, clock))
    assert members["state"] == "succeeded"
    assert [run["function"] for run in members["chain"]] == ["shop.call", "shop.fail"]
    assert {run["correlation_id"] for run in members["chain"]} == {id}
