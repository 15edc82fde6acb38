"""The history of a console: written once, read in pages, kept for a time, and never in the way."""

import asyncio
import logging
import math
import time
from contextlib import asynccontextmanager

import pytest
from tcp_proxy import proxying
from waiting import DEADLINE, PAUSE

from eventmesh import StoreUnavailable
from eventmesh.aio.clock import SystemClock
from eventmesh.model.runs import Run, RunFilter
from eventmesh.store.history import keeper, rows
from eventmesh.store.history.keeper import open_run_history

DAY = 86400.0
WEEK = 7 * DAY
ALL = RunFilter()
NOW = time.time()


def make_run(number, **members):
    return Run(
        **{
            "number": number,
            "id": f"r-{number}",
            "function": "shop.sell",
            "since": NOW - 100 + number,
            "attempt": 1,
            "trigger": "http",
            "caller": "",
            "correlation_id": f"r-{number}",
            "outcome": "success",
            "duration": 0.5,
            **members,
        }
    )


@asynccontextmanager
async def open_history(url, keep=WEEK, clock=None):
    async with open_run_history(url, clock or SystemClock(), keep, "auto") as history:
        yield history


@pytest.fixture(autouse=True)
def patient_history(monkeypatch):
    """A database on a busy machine: how long it takes decides no test, but where one says so."""
    monkeypatch.setattr(keeper, "READ_SECONDS", DEADLINE)
    monkeypatch.setattr(keeper, "WRITE_SECONDS", DEADLINE)


@pytest.fixture
async def history(store_url):
    async with open_history(store_url) as history:
        yield history


@pytest.fixture
def ids(soon):
    """Wait until the runs that a filter selects are so many, and return their ids."""

    async def ids(history, count, which=ALL):
        async def read():
            while True:
                try:
                    found = (await history.read(which, None, 100)).runs
                except StoreUnavailable:
                    found = ()
                if len(found) >= count:
                    return [each.run.id for each in found]
                await asyncio.sleep(PAUSE)

        return await soon(read())

    return ids


async def read_pages(history, which, most):
    """The ids of each page."""
    pages, before = [], None
    while True:
        page = await history.read(which, before, most)
        pages.append([each.run.id for each in page.runs])
        before = page.more
        if before is None:
            return pages


async def test_what_is_written_is_what_was_told(history, ids):
    run = make_run(7, outcome="timeout", error_type="timeout", error="it took 30 s", caller="a.b")
    history.record([("i1", run)])
    await ids(history, 1)
    (found,) = await history.find("r-7")
    assert (found.instance, found.run) == ("i1", run)


async def test_pages_have_each_run_once_also_those_of_one_moment(history, ids):
    history.record([("i1", make_run(number, since=NOW - number // 4)) for number in range(1, 24)])
    await ids(history, 23)
    pages = await read_pages(history, ALL, 5)
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    seen = [int(id.removeprefix("r-")) for page in pages for id in page]
    assert sorted(seen) == list(range(1, 24))
    assert [number // 4 for number in seen] == sorted(number // 4 for number in seen)


async def test_a_run_that_is_told_again_is_there_once(history, store_url, ids):
    async with open_history(store_url) as other:
        both = make_run(1), make_run(2)
        for each in (history, other) * 3:
            each.record([("i1", run) for run in both])
            each.record([("i2", run) for run in reversed(both)])
        await ids(history, 2)
        history.record([("i1", make_run(3))])
        await ids(history, 3)
        other.record([("i1", make_run(4))])
        assert await ids(history, 4) == ["r-4", "r-3", "r-2", "r-1"]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (RunFilter(find="r-1"), ["r-3", "r-1"]),
        (RunFilter(correlation_id="r-1"), ["r-3", "r-1"]),
        (RunFilter(function="shop.fail"), ["r-3", "r-2"]),
        (RunFilter(outcome="success"), ["r-4", "r-1"]),
        (RunFilter(trigger="event", outcome="function_error"), ["r-3"]),
        (RunFilter(since=NOW - 98, until=NOW - 96), ["r-3", "r-2"]),
        (RunFilter(find="nothing"), []),
    ],
)
async def test_runs_are_found_by_what_is_known_of_them(history, ids, which, expected):
    failed = {"function": "shop.fail", "outcome": "function_error"}
    runs = [
        make_run(1),
        make_run(2, **failed),
        make_run(3, **failed, trigger="event", correlation_id="r-1"),
        make_run(4),
    ]
    history.record([("i1", run) for run in runs])
    await ids(history, 4)
    found = [each.run for each in (await history.read(which, None, 10)).runs]
    assert [run.id for run in found] == expected
    assert all(which.selects(run) for run in found)
    assert [run.id for run in reversed(runs) if which.selects(run)] == expected


async def test_what_is_rare_is_found_in_pages_that_look_through_some_rows(
    history, ids, monkeypatch
):
    monkeypatch.setattr(rows, "EXAMINED", 4)
    rare = {1, 9, 10}
    history.record(
        [("i1", make_run(n, outcome="timeout" if n in rare else "success")) for n in range(1, 11)]
    )
    await ids(history, 10)
    pages = await read_pages(history, RunFilter(outcome="timeout"), 10)
    assert pages == [["r-10", "r-9"], [], ["r-1"]]


async def test_what_is_too_old_is_dropped(store_url, query, manual_clock, ids, soon, monkeypatch):
    monkeypatch.setattr(keeper, "DROPPED", 2)
    monkeypatch.setattr(keeper, "DROP_PAUSE", 0.0)
    async with open_history(store_url, keep=DAY, clock=manual_clock) as history:
        began = manual_clock.now()
        history.record([("i1", make_run(number, since=began)) for number in range(5)])
        await ids(history, 5)
        await manual_clock.advance(DAY + 1)
        assert (await history.read(ALL, None, 10)).runs == []
        history.record([("i1", make_run(7, since=began)), ("i1", make_run(8, since=began + DAY))])
        assert await ids(history, 1) == ["r-8"]

        async def dropped():
            while await query("SELECT id FROM eventmesh_runs") != [("r-8",)]:
                await manual_clock.advance(keeper.DROP_SECONDS)

        await soon(dropped())


async def test_no_process_brings_the_history_out_of_order(history, ids):
    """Whoever may write to the broker may tell of runs."""
    far = [math.nan, math.inf, -math.inf, NOW + 86400, NOW - 2 * WEEK]
    history.record([("i1", make_run(number, since=since)) for number, since in enumerate(far)])
    history.record([("i1", make_run(8, duration=math.inf)), ("i1", make_run(9, outcome=""))])
    huge = make_run(
        10**30,
        id="a\0b",
        since=NOW,
        attempt=10**30,
        function="f" * 5000,
        error="\0\ud800" * 5000,
        duration=-1.0,
        trigger="\x1b[2J",
    )
    history.record([("i\0" * 500, huge), ("i1", make_run(2))])
    await ids(history, 2)
    cut, good = (await history.read(ALL, None, 10)).runs
    assert (cut.run.id, cut.run.duration, len(cut.run.function)) == ("a b", 0.0, 255)
    assert good.run == make_run(2)


async def test_what_is_told_last_is_written_when_it_is_closed(store_url):
    async with open_history(store_url) as history:
        history.record([("i1", make_run(number, since=NOW - number)) for number in range(600)])
    async with open_history(store_url) as history:
        assert len((await history.read(ALL, None, 1000)).runs) == 600


async def test_while_the_database_is_away_nobody_waits(
    postgres_url, ids, until, monkeypatch, caplog
):
    monkeypatch.setattr(keeper, "MAX_WAITING", 5)
    caplog.set_level(logging.INFO)
    async with proxying(postgres_url) as proxy, open_history(proxy.url(postgres_url)) as history:
        history.record([("i1", make_run(1))])
        await ids(history, 1)
        await proxy.refuse()
        proxy.reset()
        history.record([("i1", make_run(2))])
        await until(lambda: history.unavailable_reason)
        with pytest.raises(StoreUnavailable, match="cannot be read now"):
            await history.find("r-1")
        for number in range(3, 12):
            history.record([("i1", make_run(number))])
        await until(lambda: history.dropped == 5)
        assert caplog.text.count("too many wait") == 1
        assert caplog.text.count("cannot be kept now") == 1
        await proxy.forward()
        assert await ids(history, 6) == ["r-11", "r-10", "r-9", "r-8", "r-7", "r-1"]
        assert history.unavailable_reason == ""


async def test_waiting_runs_have_no_more_than_so_many_bytes(postgres_url, until, monkeypatch):
    monkeypatch.setattr(keeper, "MAX_WAITING_BYTES", 3000)
    async with proxying(postgres_url) as proxy:
        await proxy.refuse()
        async with open_history(proxy.url(postgres_url)) as history:
            for number in range(50):
                history.record([("i1", make_run(number, error="x" * 300))])
            await until(lambda: history.dropped >= 45)


async def test_a_database_that_hangs_is_not_waited_for(postgres_url, ids, until, monkeypatch):
    async with proxying(postgres_url) as proxy, open_history(proxy.url(postgres_url)) as history:
        history.record([("i1", make_run(1))])
        await ids(history, 1)
        monkeypatch.setattr(keeper, "READ_SECONDS", 0.05)
        monkeypatch.setattr(keeper, "WRITE_SECONDS", 0.05)
        proxy.stall()
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="too slow"):
                await history.find("r-1")
        history.record([("i1", make_run(2))])
        await until(lambda: history.unavailable_reason)
        await proxy.forward()
        monkeypatch.setattr(keeper, "WRITE_SECONDS", DEADLINE)
        monkeypatch.setattr(keeper, "READ_SECONDS", DEADLINE)
        monkeypatch.setattr(history, "_slow_until", 0.0)
        assert await ids(history, 2) == ["r-2", "r-1"]


async def test_the_console_opens_before_its_database(postgres_url, ids, monkeypatch, caplog):
    monkeypatch.setattr(keeper, "READ_SECONDS", 0.05)
    async with proxying(postgres_url) as proxy:
        await proxy.refuse()
        async with open_history(proxy.url(postgres_url)) as history:
            with pytest.raises(StoreUnavailable):
                await history.find("r-1")
            history.record([("i1", make_run(1))])
            monkeypatch.setattr(keeper, "READ_SECONDS", DEADLINE)
            await proxy.forward()
            assert await ids(history, 1) == ["r-1"]


async def test_what_the_database_refuses_does_not_hold_up_the_rest(
    postgres_url, ids, until, monkeypatch
):
    from databases import open_database

    monkeypatch.setattr(keeper, "WRITTEN", 1)
    async with open_history(postgres_url) as history, open_database(postgres_url) as database:
        async with database.begin() as connection:
            await connection.exec_driver_sql(
                "ALTER TABLE eventmesh_runs ADD CHECK (function <> 'shop.refused')"
            )
        refused = make_run(1, function="shop.refused")
        history.record([("i1", refused), ("i1", make_run(2))])
        assert await ids(history, 1) == ["r-2"]
        assert history.dropped == 1
