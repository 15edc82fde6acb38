"""Generators in threads: what closing one waits for while their threads are busy."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from eventmesh.engine.runtimes.threaded_generator import CLOSE_SECONDS, ThreadedGenerator
from eventmesh.engine.runtimes.threads import FunctionThreads
from eventmesh.model.invocation import HttpRequest, RouteTemplate

HTTP = HttpRequest(RouteTemplate("GET /", (), False), "GET", "/", {}, {}, {})

VARIABLE = contextvars.ContextVar("variable", default="unset")


class Threads:
    """The one thread of a function, and a generator whose end the test sees."""

    def __init__(self, clock):
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="app.rows")
        self.clock = clock
        self.going_on = threading.Event()
        self.in_second_step = threading.Event()
        self.closed = threading.Event()
        self.closed_in = ()
        self.failure: BaseException | None = None
        self.kept = 0

    def keep(self):
        """Count the permits that are kept for what goes on when its run is over."""
        self.kept += 1
        return self.give_back

    def give_back(self):
        self.kept -= 1

    def rows(self) -> Iterator[int]:
        """The handler: two items, each a step in the thread, and an end."""
        VARIABLE.set("of the generator")
        try:
            yield 1
            self.in_second_step.set()
            self.going_on.wait(60)
            yield 2
        finally:
            self.closed_in = (threading.current_thread().name, VARIABLE.get())
            self.closed.set()
            if self.failure is not None:
                raise self.failure

    def items(self):
        threads = FunctionThreads(self.executor, self.keep)
        return ThreadedGenerator("app.rows", self.rows(), threads, self.clock)

    def occupy(self):
        """Keep the thread busy until `free`, as a run that has timed out does."""
        self.executor.submit(self.going_on.wait, 60)

    async def free(self):
        """Let the thread go on, and wait until it has done all it was given."""
        self.going_on.set()
        await asyncio.to_thread(self.executor.shutdown)
        await self.clock.settle()
        assert not self.kept


@pytest.fixture
def threads(clock):
    threads = Threads(clock)
    yield threads
    threads.going_on.set()
    threads.executor.shutdown()


async def in_time(awaitable):
    """Its result; a failure instead of a hang."""
    async with asyncio.timeout(60):
        return await awaitable


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await in_time(task)


@pytest.mark.parametrize("http", [None, HTTP], ids=["list", "stream"])
async def test_a_run_that_waits_for_a_busy_thread_can_be_cancelled(run, clock, http):
    begun, going_on = threading.Event(), threading.Event()
    runs = []

    def stuck() -> Iterator[int]:
        runs.append(1)
        begun.set()
        going_on.wait(60)
        yield 1

    first = asyncio.create_task(run(stuck, http=http, concurrency=1))
    await asyncio.to_thread(begun.wait, 60)
    await cancelled(first)
    second = asyncio.create_task(run(stuck, http=http, concurrency=1))
    await clock.settle()
    try:
        await cancelled(second)
    finally:
        going_on.set()
    assert runs == [1]


async def test_a_generator_that_waits_for_a_busy_thread_is_closed_when_the_thread_is_free(
    threads, clock
):
    items = threads.items()
    assert await anext(items) == 1
    threads.occupy()
    reading = asyncio.create_task(anext(items))
    await clock.settle()
    await cancelled(reading)

    await in_time(items.aclose())

    assert not threads.closed.is_set()
    assert threads.kept == 1
    await threads.free()
    assert threads.closed_in == ("app.rows_0", "of the generator")


async def test_closing_between_two_items_waits_for_a_busy_thread_for_a_limited_time(
    threads, clock, caplog
):
    items = threads.items()
    assert await anext(items) == 1
    threads.occupy()
    closing = asyncio.create_task(items.aclose())
    await clock.advance(CLOSE_SECONDS * 0.9)
    assert not closing.done()

    await clock.advance(CLOSE_SECONDS * 0.1)

    await in_time(closing)
    assert "app.rows: a stream is not waited for any more" in caplog.text
    assert threads.kept == 1
    assert not threads.closed.is_set()
    await threads.free()
    assert threads.closed_in == ("app.rows_0", "of the generator")


async def test_who_stops_waiting_for_the_end_of_a_generator_does_not_prevent_it(threads, clock):
    items = threads.items()
    assert await anext(items) == 1
    threads.occupy()
    closing = asyncio.create_task(items.aclose())
    await clock.settle()
    await cancelled(closing)
    await in_time(items.aclose())
    await threads.free()
    assert threads.closed_in == ("app.rows_0", "of the generator")


@pytest.mark.parametrize("failure", [ValueError("at the end"), SystemExit("at the end")], ids=repr)
@pytest.mark.parametrize("step", ["runs", "waits for a thread"])
async def test_a_failure_that_nobody_waits_for_is_logged(threads, clock, caplog, step, failure):
    threads.failure = failure
    items = threads.items()
    assert await anext(items) == 1
    if step != "runs":
        threads.occupy()
    reading = asyncio.create_task(anext(items))
    await clock.settle()
    await cancelled(reading)
    await in_time(items.aclose())
    await threads.free()
    (record,) = caplog.records
    assert record.getMessage() == "app.rows: a generator failed while it was closed"
    assert record.exc_info[1] is failure


async def test_a_failure_that_is_waited_for_is_raised(threads, caplog):
    threads.failure = ValueError("at the end")
    items = threads.items()
    assert await anext(items) == 1
    with pytest.raises(ValueError, match="at the end"):
        await in_time(items.aclose())
    assert not caplog.records


async def test_a_generator_that_never_began_or_has_ended_needs_no_thread_to_be_closed(threads):
    threads.going_on.set()
    ended, never_begun = threads.items(), threads.items()
    assert [item async for item in ended] == [1, 2]
    threads.going_on.clear()
    threads.closed.clear()
    threads.occupy()
    await in_time(ended.aclose())
    await in_time(never_begun.aclose())
    assert not threads.closed.is_set()


async def test_a_step_that_goes_on_keeps_its_permit_until_its_generator_is_closed(threads):
    items = threads.items()
    assert await anext(items) == 1
    reading = asyncio.create_task(anext(items))
    await asyncio.to_thread(threads.in_second_step.wait, 60)
    await cancelled(reading)
    assert threads.kept == 1
    await in_time(items.aclose())
    assert threads.kept == 1
    await threads.free()
    assert threads.closed_in == ("app.rows_0", "of the generator")
