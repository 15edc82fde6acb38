"""A new version of the code is deployed while executions sleep."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing

import pytest

from eventmesh import DurableContext, Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.durable.keeper import ExecutionFilter
from eventmesh.engine.executions.mesh import MeshExecutions
from eventmesh.executions.revisions.fingerprint import find_revision
from eventmesh.executions.revisions.watch import GONE_SECONDS, NOTE_SECONDS
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

PLACE = "shop.place"
STEP_SECONDS = 2.0


def first(order):
    return f"first {order}"


def second(order):
    return f"second {order}"


def build(*steps, first_name=""):
    shop = Service("shop")

    @shop.function(durable=True)
    async def place(order: str, ctx: DurableContext) -> list[str]:
        done = [await ctx.step(steps[0], order, name=first_name)]
        await ctx.wait("1m")
        return done + [await ctx.step(step, order) for step in steps[1:]]

    return shop


@pytest.fixture
async def deployed(manual_clock, tmp_path):
    """Run a version of the service, beside others, while entered."""
    async with MemoryBroker(manual_clock) as broker:

        @asynccontextmanager
        async def deploy(shop, revision):
            settings = Settings(store=f"sqlite:///{tmp_path}/shop.db", revision=revision)
            async with host_services(
                (shop,), broker, settings, clock=manual_clock, http=None
            ) as host:

                async def functions():
                    return list(host.functions)

                yield host, MeshExecutions(broker, manual_clock, functions)

        yield deploy


@pytest.fixture
def ended(manual_clock, soon):
    """Move the clock until the only execution has ended, and return it."""

    async def wait(executions):
        while True:
            found, _ = await executions.list(ExecutionFilter())
            if found and found[0].is_ended:
                return await executions.show(found[0].id)
            await manual_clock.advance(0.5)
            await asyncio.sleep(0.01)

    return lambda executions: soon(wait(executions))


@pytest.fixture
def noted(manual_clock, tmp_path, soon):
    """Wait until a version has noted a moment ago, by the clock that is moved, that it runs."""

    async def wait(revision):
        statement = "SELECT seen FROM eventmesh_revisions WHERE revision = ?"
        with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
            while True:
                rows = database.execute(statement, [revision]).fetchall()
                if rows and rows[0][0] > manual_clock.now() - NOTE_SECONDS - STEP_SECONDS:
                    return
                # It notes that so long after it has read what others noted, which takes real time.
                await manual_clock.advance(0.5)
                await asyncio.sleep(0.01)

    return lambda revision: soon(wait(revision))


@pytest.fixture
def asleep(soon):
    async def wait(executions):
        while True:
            found, _ = await executions.list()
            if found and not found[0].running and found[0].operations == 2:
                return
            await asyncio.sleep(0.01)

    return lambda executions: soon(wait(executions))


async def test_executions_end_as_they_began_while_their_version_runs(
    deployed, manual_clock, ended, asleep, noted
):
    async with deployed(build(first, first), "v1") as (old, executions):
        await old.caller.send(PLACE, {"order": "7"})
        await asleep(executions)
        async with deployed(build(second, second), "v2"):
            for _ in range(30):
                await manual_clock.advance(STEP_SECONDS)
                await noted("v1")
            told = await ended(executions)
    assert (told.status, told.version) == ("SUCCEEDED", "v1")
    assert told.result == '["first 7","first 7"]'


async def test_what_changed_is_told_when_their_version_is_gone(
    deployed, manual_clock, ended, asleep
):
    async with deployed(build(first, first), "v1") as (old, executions):
        await old.caller.send(PLACE, {"order": "7"})
        await asleep(executions)
    async with deployed(build(second, second), "v2") as (_, executions):
        await manual_clock.advance(GONE_SECONDS + 2 * NOTE_SECONDS)
        await manual_clock.advance("1m")
        told = await ended(executions)
    assert told.status == "FAILED"
    for word in ("STEP 'second'", "STEP 'first'", "version v1", "this is v2", __file__):
        assert word in told.error.message


async def test_they_go_on_with_a_version_that_does_the_same(deployed, manual_clock, ended, asleep):
    async with deployed(build(first, first), "v1") as (old, executions):
        await old.caller.send(PLACE, {"order": "7"})
        await asleep(executions)
    new = build(second, second, first_name="first")
    async with deployed(new, "v2") as (_, executions):
        await manual_clock.advance(GONE_SECONDS + 2 * NOTE_SECONDS)
        await manual_clock.advance("1m")
        told = await ended(executions)
    assert (told.status, told.result) == ("SUCCEEDED", '["first 7","second 7"]')


def test_a_version_without_a_name_is_a_digest_of_its_file(tmp_path):
    assert find_revision(first, "v3") == "v3"
    digest = find_revision(first, "")
    assert digest == find_revision(second, "") != ""
    assert find_revision(len, "") == ""
