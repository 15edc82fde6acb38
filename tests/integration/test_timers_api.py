"""Timers through the control API, the client and the command line."""

import asyncio
import json
from functools import partial

import pytest
from click.testing import CliRunner

from eventmesh import Client, Service, on
from eventmesh.cli.main import cli
from eventmesh.model.errors import FunctionNotFound


@pytest.fixture
def reports():
    service = Service("reports")

    @service.function(on.every("1d"), on.every("2d"))
    async def nightly() -> None: ...

    return service


async def read(client):
    """The timers, once a process fires them."""
    async with asyncio.timeout(60):
        while not (listed := await client.timers.list()).timers:
            await asyncio.sleep(0.01)
    return listed.timers


async def test_a_client_pauses_and_resumes(serving, reports):
    async with serving(reports) as served, Client(served.url) as client:
        assert [each.schedule for each in await read(client)] == ["every 1 d", "every 2 d"]
        (paused,) = await client.timers.pause("reports.nightly", "every 2 d")
        assert paused.paused is not None
        assert [each.paused for each in await read(client)] == [None, paused.paused]
        resumed = await client.timers.resume("reports.nightly")
        assert [each.paused for each in resumed] == [None, None]
        fired = await client.timers.run("reports.nightly", "every 1 d")
        assert len(fired.last) == 1
        with pytest.raises(FunctionNotFound, match="every 3 d"):
            await client.timers.run("reports.nightly", "every 3 d")


async def test_what_is_no_order_is_refused(serving, reports):
    path = "/_eventmesh/timers/reports.nightly/pause"
    async with serving(reports) as served, Client(served.url) as client:
        await read(client)
        for body in (b"[]", b'{"schedule": 1}', b"{"):
            async with served.http.post(path, data=body) as answer:
                assert answer.status == 422


async def test_the_command_shows_and_changes(serving, reports):
    async with serving(reports) as served, Client(served.url) as client:
        await read(client)

        async def run(*arguments):
            invoke = partial(CliRunner().invoke, cli, ["timers", *arguments, "--url", served.url])
            result = await asyncio.to_thread(invoke)
            return result.exit_code, result.output

        assert await run("pause", "reports.nightly", "--schedule", "every 1 d") == (
            0,
            "reports.nightly: every 1 d is paused\n",
        )
        code, table = await run("list")
        assert (code, "paused for" in table, "active" in table) == (0, True, True)
        _, listed = await run("list", "--json")
        assert [each["paused"] is None for each in json.loads(listed)] == [False, True]
        code, said = await run("run", "reports.nightly")
        assert (code, "several timers" in said) == (2, True)
        assert (await run("resume", "reports.nightly"))[0] == 0
        assert (await run("pause", "reports.none"))[0] == 3
