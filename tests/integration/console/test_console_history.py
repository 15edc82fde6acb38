"""With a store the console still knows what ended before it was started."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from databases import open_database
from sqlalchemy import text
from waiting import DEADLINE, PAUSE

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.console.api import ConsoleOptions
from eventmesh.console.serve import serve_console
from eventmesh.console.sources import open_mesh_source
from eventmesh.host import host_services
from eventmesh.model.errors import SettingsError
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.presence import announce
from eventmesh.processes.instance_info import build_instance
from eventmesh.processes.looking import build_look
from eventmesh.service import Service
from eventmesh.store.history import keeper
from eventmesh.store.migrate import migrate

FORGOTTEN = "only the history of the console knows it"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A database on a busy machine: how long it takes decides no test."""
    monkeypatch.setattr(keeper, "READ_SECONDS", DEADLINE)
    monkeypatch.setattr(keeper, "WRITE_SECONDS", DEADLINE)


@pytest.fixture
def shop():
    service = Service("shop")

    @service.function(retry=Retry(1))
    async def sell(item: str) -> None:
        if item == "bad":
            raise ValueError("none left")

    return service


@asynccontextmanager
async def run_worker(service, broker):
    clock, settings = SystemClock(), Settings()
    async with (
        host_services([service], broker, settings, http=None) as host,
        announce(broker, clock, build_instance(host, [service], settings, clock), build_look(host)),
    ):
        yield host


@asynccontextmanager
async def open_console(broker, **settings):
    """Get what the console's API answers, while entered."""
    async with (
        open_mesh_source(broker, None) as source,
        serve_console(source, Settings(http_port=0, **settings), ConsoleOptions("console")) as url,
        aiohttp.ClientSession(url) as http,
    ):

        async def get(path):
            async with http.get(f"api/{path}") as answer:
                return await answer.json(content_type=None)

        yield get


@pytest.fixture
def written(store_url, soon):
    """Wait until so many runs are in the store."""

    async def written(count):
        async def wait():
            async with open_database(store_url) as database:
                await migrate(database)
                while True:
                    async with database.begin() as connection:
                        found = await connection.execute(
                            text("SELECT count(*) FROM eventmesh_runs")
                        )
                        if found.scalar_one() >= count:
                            return
                    await asyncio.sleep(PAUSE)

        await soon(wait())

    return written


@pytest.fixture
def ended(shop, store_url, written):
    """The ids of runs that ended in a mesh which is gone, while nobody looked at its console."""

    async def ended(*items):
        async with (
            MemoryBroker() as broker,
            open_console(broker, store=store_url),
            run_worker(shop, broker) as host,
        ):
            ids = [await host.caller.send("shop.sell", {"item": item}) for item in items]
            await written(len(items))
        return ids

    return ended


async def test_what_ended_is_found_after_all_processes_ended(ended, store_url):
    sold, failed = await ended("tea", "bad")
    async with MemoryBroker() as broker, open_console(broker, store=store_url) as get:
        listed = await get("invocations")
        runs = {run["id"]: run for run in listed["invocations"]}
        assert set(runs) == {sold, failed}
        assert all(run["history"] for run in runs.values())
        assert (runs[failed]["outcome"], runs[failed]["error"]) == (
            "function_error",
            "ValueError: none left",
        )
        assert listed["history"] == {"keep": 604800.0, "dropped": 0, "unavailable": ""}

        found = await get(f"invocations/{sold}")
        assert found["state"] == "succeeded"
        assert FORGOTTEN in found["detail"]
        assert [(run["id"], run["history"]) for run in found["chain"]] == [(sold, True)]
        assert (await get(f"invocations/{failed}"))["state"] == "failed"

        filtered = await get("invocations?function=shop.sell&outcome=success")
        assert [run["id"] for run in filtered["invocations"]] == [sold]
        assert [run["id"] for run in (await get(f"invocations?id={sold}"))["invocations"]] == [sold]
        assert (await get(f"invocations?until={runs[sold]['started'] - 1}"))["invocations"] == []


async def test_pages_are_of_processes_and_of_the_history(ended, shop, store_url, written):
    before = await ended(*["tea"] * 3)
    async with (
        MemoryBroker() as broker,
        run_worker(shop, broker) as host,
        open_console(broker, store=store_url) as get,
    ):
        after = [await host.caller.send("shop.sell", {"item": "tea"}) for _ in range(3)]
        await written(6)
        pages, path = [], "invocations?limit=2"
        while True:
            page = await get(path)
            pages.append([(run["id"], run.get("history", False)) for run in page["invocations"]])
            if not page["next"]:
                break
            path = f"invocations?limit=2&before={page['next']}"
    assert [len(page) for page in pages] == [2, 2, 2]
    seen = [run for page in pages for run in page]
    assert {id for id, _ in seen[:3]} == set(after)
    assert {id for id, _ in seen[3:]} == set(before)
    assert [of_history for _, of_history in seen] == [False] * 3 + [True] * 3


async def test_what_processes_remember_has_pages_without_a_store(shop):
    async with (
        MemoryBroker() as broker,
        run_worker(shop, broker) as host,
        open_console(broker) as get,
    ):
        for _ in range(3):
            await host.caller.invoke("shop.sell", {"item": "tea"})
        first = await get("invocations?limit=2")
        assert (len(first["invocations"]), first["history"]) == (2, None)
        rest = await get(f"invocations?limit=2&before={first['next']}")
        assert (len(rest["invocations"]), rest["next"]) == (1, "")
        ids = {run["id"] for page in (first, rest) for run in page["invocations"]}
        assert len(ids) == 3


@pytest.mark.parametrize(
    "query", ["before=x", "before=nan_" + "0" * 32, "since=nan", "until=x", "limit=-1"]
)
async def test_what_is_no_page_is_refused(query):
    async with MemoryBroker() as broker, open_console(broker) as get:
        assert (await get(f"invocations?{query}"))["status"] == 422


async def test_a_store_that_can_be_none_is_told_at_the_start(tmp_path):
    async with MemoryBroker() as broker:
        opening = open_console(broker, store=f"sqlite:///{tmp_path}/nowhere/store.db")
        with pytest.raises(SettingsError, match="create its folder"):
            await opening.__aenter__()


async def test_without_its_store_the_console_shows_what_processes_tell(shop):
    away = "postgresql://nobody:secret@127.0.0.1:1/nothing"
    async with (
        MemoryBroker() as broker,
        run_worker(shop, broker) as host,
        open_console(broker, store=away) as get,
    ):
        id = await host.caller.send("shop.sell", {"item": "tea"})
        while not (listed := await get("invocations"))["invocations"]:
            await asyncio.sleep(PAUSE)
        assert [run["id"] for run in listed["invocations"]] == [id]
        assert "127.0.0.1:1" in listed["history"]["unavailable"]
        found = await get(f"invocations/{id}")
        assert found["state"] == "succeeded"
        assert "the history cannot be read now" in found["incomplete"][0]
        assert "secret" not in str((listed, found))
