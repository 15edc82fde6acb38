"""Runs in threads that outlast their timeout: what they keep, and what waits behind them."""

import asyncio
import logging
import threading

import pytest

from eventmesh.host import host_services
from eventmesh.model.errors import InvocationTimeout, Throttled
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters
from eventmesh.service import Service


class Hanging:
    """A function in threads whose first runs hang until the test lets them go on."""

    def __init__(self, hanging: int, **options) -> None:
        self.app = Service("app")
        self.going_on = threading.Event()
        self.runs: list[int] = []
        self.ended = 0
        self.most = 0
        self._hanging = hanging
        self._running = 0
        self._lock = threading.Lock()
        self.app.function(timeout=5, **options)(self.work)

    def work(self, number: int) -> int:
        with self._lock:
            self.runs.append(number)
            self._running += 1
            self.most = max(self.most, self._running)
            hangs = len(self.runs) <= self._hanging
        if hangs:
            self.going_on.wait(60)
        with self._lock:
            self._running -= 1
            self.ended += 1
        return number


@pytest.fixture
def hanging():
    made: list[Hanging] = []

    def hanging(count: int, **options) -> Hanging:
        made.append(Hanging(count, **options))
        return made[-1]

    yield hanging
    for one in made:
        one.going_on.set()


async def test_what_waits_behind_runs_that_hang_is_not_spent(hanging, start, broker, clock, until):
    work = hanging(2, concurrency=2, retry=Retry(attempts=2, initial=1))
    async with start(work.app) as host:
        for number in range(10):
            await host.caller.send("app.work", {"number": number})
        await until(lambda: len(work.runs) == 2)
        await clock.advance(1000)
        assert work.runs == [0, 1]
        assert host.statistics()["app.work"]["running"] == 2

        work.going_on.set()
        # Each number once, and once more the two that had timed out.
        await until(lambda: work.ended == 12)
        assert sorted(work.runs[2:]) == list(range(10))
        assert work.most == 2
        assert await broker.depth(dead_letters("app.work")) == 0


async def test_its_caller_is_told_at_once(hanging, start, clock, until):
    work = hanging(1, concurrency=1)
    async with start(work.app) as host, asyncio.TaskGroup() as tasks:
        calling = tasks.create_task(failure(host.caller.invoke("app.work", {"number": 1})))
        await until(lambda: work.runs)
        await clock.advance(5)
        assert isinstance(await calling, InvocationTimeout)
        assert not work.ended


async def test_a_caller_that_finds_no_thread_free_waits_and_is_refused(
    hanging, start, clock, until
):
    work = hanging(1, concurrency=1, max_pending=1)
    async with start(work.app) as host, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(failure(host.caller.invoke("app.work", {"number": 1})))
        await until(lambda: work.runs)
        await clock.advance(5)
        assert isinstance(await first, InvocationTimeout)
        call = host.caller.invoke("app.work", {"number": 2}, timeout=3)
        second = tasks.create_task(failure(call))
        await clock.advance(3)
        assert isinstance(await second, (InvocationTimeout, Throttled))
        assert work.runs == [1]


async def test_the_timeout_of_a_run_begins_with_its_thread(hanging, start, clock, until):
    work = hanging(1, concurrency=1)
    async with start(work.app) as host, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(failure(host.caller.invoke("app.work", {"number": 1})))
        await until(lambda: work.runs)
        await clock.advance(5)
        await first
        second = tasks.create_task(host.caller.invoke("app.work", {"number": 2}, timeout=60))
        await clock.advance(20)  # Four times what a run may take.
        work.going_on.set()
        assert await second == 2


async def test_a_slot_of_the_mesh_is_kept_too(hanging, broker, clock, until):
    work = hanging(1, reserved_concurrency=1, retry=Retry(attempts=2, initial=1))

    def process():
        return host_services([work.app], broker, Settings(grace=5), clock=clock, http=None)

    async with process() as one, process():
        await one.caller.send("app.work", {"number": 1})
        await until(lambda: work.runs)
        await clock.advance(20)
        assert work.runs == [1]
        work.going_on.set()
        await until(lambda: work.ended == 2)
        assert work.most == 1


async def test_a_process_whose_runs_all_hang_says_so(hanging, start, clock, until, caplog):
    caplog.set_level(logging.WARNING, "eventmesh.engine.concurrency.abandoned")
    work = hanging(2, concurrency=2, retry=Retry(attempts=1))
    async with start(work.app) as host:

        def metric() -> float | None:
            labels = {"function": "app.work"}
            return host.metrics.registry.get_sample_value("eventmesh_abandoned_runs", labels)

        await host.caller.send("app.work", {"number": 1})
        await until(lambda: len(work.runs) == 1)
        await clock.advance(5)
        assert (host.stuck(), metric()) == ([], 1.0)
        await host.caller.send("app.work", {"number": 2})
        await until(lambda: len(work.runs) == 2)
        await clock.advance(5)
        assert (host.stuck(), metric()) == (["app.work"], 2.0)
        assert "app.work: this process begins no more of its runs" in caplog.text

        work.going_on.set()
        await until(lambda: not metric())
        assert host.stuck() == []
        assert "app.work: a run that hung has ended" in caplog.text


async def failure(call):
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - it is what the test is about
        return error
