"""A host that is told to stop: what runs gets its time, and what is left is requeued."""

import asyncio
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from eventmesh.aio.clock import sleep
from eventmesh.engine.context import Context
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, named, slots_name, to_queue
from eventmesh.model.value import value
from eventmesh.service import Service
from eventmesh.triggers import on


@pytest.fixture
def app():
    return Service("app")


@pytest.fixture
def slow(app, clock):
    """A function that takes ten seconds, and what became of its runs."""
    runs = []

    @app.function(name="work")
    async def work() -> str:
        runs.append("begun")
        try:
            await sleep(clock, 10)
        except asyncio.CancelledError:
            runs.append("cancelled")
            raise
        runs.append("ended")
        return "done"

    return runs


@value
class Stuck:
    """A trigger whose source does not end by itself."""

    kind: ClassVar[str] = "stuck"

    def describe(self):
        return self.kind

    def check(self, function): ...

    @classmethod
    @asynccontextmanager
    async def source(cls, bound, runtime):
        yield
        await asyncio.Event().wait()


@value
class Finishing(Stuck):
    """A trigger whose source finishes what it has for ten seconds."""

    kind: ClassVar[str] = "finishing"

    @classmethod
    @asynccontextmanager
    async def source(cls, bound, runtime):
        yield
        await sleep(runtime.clock, 10)


class Process:
    """A process that runs services until it is stopped."""

    def __init__(self, hosting, tasks):
        self._hosting = hosting
        self._stop = asyncio.Event()
        self.host = asyncio.get_running_loop().create_future()
        self.task = tasks.create_task(self._run())

    async def _run(self):
        async with self._hosting as host:
            self.host.set_result(host)
            await self._stop.wait()

    def stop(self):
        self._stop.set()


async def test_what_runs_may_finish_within_the_grace_time(slow, app, start, clock, broker):
    async with asyncio.TaskGroup() as tasks:
        process = Process(start(app, grace=20), tasks)
        host = await process.host
        await host.caller.send("app.work")
        answer = tasks.create_task(host.caller.invoke("app.work"))
        await clock.settle()
        process.stop()
        await clock.advance(9)
        assert not process.task.done()
        await clock.advance(1)
        assert process.task.done()
    assert slow == ["begun", "begun", "ended", "ended"]
    assert answer.result() == "done"
    assert await broker.depth(inbox("app.work")) == 0


async def test_what_still_runs_after_it_is_cancelled_and_requeued(
    slow, app, start, clock, broker, caplog
):
    async with asyncio.TaskGroup() as tasks:
        process = Process(start(app, grace=5), tasks)
        host = await process.host
        await host.caller.send("app.work")
        await clock.settle()
        process.stop()
        await clock.advance(5)
        assert process.task.done()
    assert slow == ["begun", "cancelled"]
    assert "the grace time of 5 s is over" in caplog.text
    delivery = await broker.get(inbox("app.work"))
    assert (delivery.losses, delivery.message.attempt) == (0, 1)


async def test_one_source_that_takes_all_the_time_leaves_none_to_the_others(
    slow, app, start, clock
):
    app.function(Stuck(), name="stuck")(lambda: None)
    async with asyncio.TaskGroup() as tasks:
        process = Process(start(app, grace=5), tasks)
        host = await process.host
        await host.caller.send("app.work")
        await clock.settle()
        process.stop()
        await clock.advance(5)
        assert process.task.done()
    assert slow == ["begun", "cancelled"]


async def test_a_cancelled_process_drains_and_one_cancelled_twice_does_not(slow, app, start, clock):
    async with asyncio.TaskGroup() as tasks:
        process = Process(start(app, grace=60), tasks)
        host = await process.host
        await host.caller.send("app.work")
        await clock.settle()
        process.task.cancel()
        await clock.advance(1)
        assert slow == ["begun"]
        process.task.cancel()
        await clock.settle()
        assert process.task.cancelled()
    assert slow == ["begun", "cancelled"]


async def test_nothing_new_is_begun_while_it_drains(slow, app, start, clock, broker):
    async with asyncio.TaskGroup() as tasks, start(Service("other")) as other:
        process = Process(start(app, grace=60), tasks)
        await process.host
        await other.caller.send("app.work")
        await clock.settle()
        process.stop()
        await clock.settle()
        await other.caller.send("app.work")
        await clock.advance(20)
        assert process.task.done()
    assert slow == ["begun", "ended"]
    assert await broker.depth(inbox("app.work")) == 1


async def test_nothing_new_is_begun_while_another_source_finishes(slow, app, start, clock, broker):
    app.function(Finishing(), name="finishing")(lambda: None)
    async with asyncio.TaskGroup() as tasks, start(Service("other")) as other:
        process = Process(start(app, grace=60), tasks)
        await process.host
        process.stop()
        await clock.settle()
        await other.caller.send("app.work")
        await clock.advance(9)
        assert not process.task.done()
        await clock.advance(1)
        assert process.task.done()
    assert slow == []
    assert await broker.depth(inbox("app.work")) == 1


async def test_a_handler_that_is_finishing_may_still_call_others(app, start, clock):
    seen = []

    @app.function
    async def price() -> int:
        return 3

    @app.function
    async def work(ctx: Context) -> None:
        await sleep(clock, 5)
        seen.append(await ctx.invoke(price))

    async with asyncio.TaskGroup() as tasks:
        process = Process(start(app), tasks)
        host = await process.host
        await host.caller.send(work)
        await clock.settle()
        process.stop()
        await clock.advance(5)
    assert seen == [3]


@pytest.mark.parametrize("batch", [None, 5])
async def test_what_waits_for_a_slot_is_handed_back_at_once(
    app, start, clock, broker, batch, until
):
    runs = []

    async def one(number: int) -> None:
        runs.append(number)

    async def several(items: list[dict[str, int]]) -> None:
        runs.extend(items)

    if batch is None:
        app.function(reserved_concurrency=1, name="work")(one)
    else:
        app.function(on.queue("work", batch=batch), reserved_concurrency=1, name="work")(several)
    queue = inbox("app.work") if batch is None else named("work")
    async with (
        asyncio.TaskGroup() as tasks,
        broker.slots(slots_name("app.work"), 1) as slots,
    ):
        await slots.acquire()
        process = Process(start(app, grace=60), tasks)
        host = await process.host
        for number in range(3):
            message = Message(b'{"number": %d}' % number, str(number), clock.now())
            await broker.publish(to_queue(queue), message)
        await until(lambda: host.statistics()["app.work"]["waiting"])
        assert host.statistics()["app.work"]["running"] == 0
        process.stop()
        await clock.settle()
        assert process.task.done()
    assert runs == []
    assert await broker.depth(queue) == 3
    assert (await broker.get(queue)).losses == 0
