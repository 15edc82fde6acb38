"""Invocation by name: synchronous callers and their line, and the inbox."""

import asyncio
from contextlib import suppress

import pytest

from eventmesh.aio.clock import sleep
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.context import Context
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionError,
    FunctionNotFound,
    InvocationError,
    InvocationTimeout,
    Reject,
    Throttled,
)
from eventmesh.model.topology import inbox, rpc_queue, to_rpc
from eventmesh.service import Service


@pytest.fixture
def app():
    return Service("app")


class Calls:
    """Calls made at the same time, and what each of them got."""

    def __init__(self, host, tasks):
        self.host = host
        self.tasks = tasks
        self.outcomes = {}

    def call(self, number, function="app.work", **options):
        return self.tasks.create_task(self._call(number, function, options))

    async def _call(self, number, function, options):
        try:
            outcome = await self.host.caller.invoke(function, {"number": number}, **options)
        except InvocationError as error:
            outcome = error.code
        self.outcomes[number] = outcome


@pytest.fixture
def slow(app, clock):
    """A function that takes a second."""
    begun = []

    def slow(**options):
        @app.function(name="work", **options)
        async def work(number: int) -> int:
            begun.append(number)
            await sleep(clock, 1)
            return number * 2

        return begun

    return slow


async def test_a_caller_gets_the_result(app, start):
    @app.function
    async def double(number: int, ctx: Context) -> list:
        return [number * 2, ctx.trigger, ctx.attempt]

    async with start(app) as host:
        assert await host.caller.invoke("app.double", {"number": 4}) == [8, "invoke", 1]


async def test_a_caller_gets_bytes_as_they_are(app, start):
    @app.function
    async def picture() -> bytes:
        return b"\x89PNG\xff"

    async with start(app) as host:
        assert await host.caller.invoke(picture) == b"\x89PNG\xff"
        assert await host.caller.invoke("app.picture") == b"\x89PNG\xff"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(ValueError("no"), "ValueError: no"), (Reject("fake"), "Reject: fake")],
    ids=repr,
)
async def test_a_caller_gets_the_error(app, start, raised, expected):
    @app.function
    async def fail() -> None:
        raise raised

    async with start(app) as host:
        with pytest.raises(FunctionError, match=expected):
            await host.caller.invoke("app.fail")


async def test_there_is_nobody_of_that_name(app, start):
    @app.function
    async def work() -> None: ...

    async with start(app) as host:
        with pytest.raises(FunctionNotFound, match=r"did you mean 'app\.work'"):
            await host.caller.invoke("app.wrok")


@pytest.mark.parametrize(("concurrency", "length"), [(1, 0), (1, 2), (2, 0), (2, 3)])
async def test_callers_beyond_the_line_are_refused_at_once(
    slow, app, start, clock, concurrency, length
):
    begun = slow(concurrency=concurrency, max_pending=length)
    async with start(app) as host, asyncio.TaskGroup() as tasks:
        calls = Calls(host, tasks)
        for number in range(concurrency):
            calls.call(number)
            await clock.settle()
        for number in range(concurrency, 8):
            calls.call(number)
        await clock.settle()
        served = concurrency + length
        assert calls.outcomes == dict.fromkeys(range(served, 8), "throttled")
        assert begun == list(range(concurrency))
        await clock.advance(8)
        assert [calls.outcomes[number] for number in range(served)] == [
            number * 2 for number in range(served)
        ]


async def test_one_who_waits_goes_to_the_replica_that_is_free(slow, app, start, clock):
    begun = slow(concurrency=1)
    async with start(app) as host, asyncio.TaskGroup() as tasks:
        calls = Calls(host, tasks)
        calls.call(1)
        await clock.settle()
        calls.call(2)
        await clock.settle()
        assert begun == [1]  # The only replica is busy, and holds nobody else.
        async with start(app):
            await clock.settle()
            assert begun == [1, 2]
            await clock.advance(1)
    assert calls.outcomes == {1: 2, 2: 4}


async def test_the_deadline_passes_in_the_line(slow, app, start, clock):
    begun = slow(concurrency=1)
    async with start(app) as host, asyncio.TaskGroup() as tasks:
        calls = Calls(host, tasks)
        calls.call(1)
        await clock.settle()
        calls.call(2, timeout=0.5)
        await clock.advance(0.5)
        assert calls.outcomes == {2: "timeout"}
        await clock.advance(5)
    assert begun == [1]


async def test_the_deadline_ends_the_run(app, start, clock):
    ended = []

    @app.function
    async def work() -> None:
        try:
            await sleep(clock, 10)
        finally:
            ended.append(clock.now())

    began = clock.now()
    async with start(app) as host, asyncio.TaskGroup() as tasks:
        call = tasks.create_task(refused(host.caller.invoke("app.work", timeout=2)))
        await clock.advance(2)
        assert isinstance(await call, InvocationTimeout)
    assert ended == [began + 2]


async def refused(call):
    with pytest.raises(InvocationError) as error:
        await call
    return error.value


async def test_a_caller_that_is_gone_takes_nobody_down(slow, app, start, clock):
    begun = slow()
    async with start(app) as host:
        call = asyncio.create_task(host.caller.invoke("app.work", {"number": 1}))
        await clock.settle()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        await clock.advance(5)
        assert begun == [1]
        async with asyncio.TaskGroup() as tasks:
            again = tasks.create_task(host.caller.invoke("app.work", {"number": 2}))
            await clock.advance(1)
        assert again.result() == 4


async def test_a_caller_whose_callee_is_stopped_is_told_so(slow, app, start, clock):
    slow()
    async with asyncio.TaskGroup() as tasks, start(Service("other")) as host:
        calls = Calls(host, tasks)
        async with start(app, grace=0):
            calls.call(1)
            await clock.settle()
        await clock.settle()
        assert calls.outcomes == {1: "broker_unavailable"}


async def test_a_stop_lets_who_has_been_taken_finish_and_leaves_the_rest_to_others(
    slow, app, start, clock
):
    begun = slow(concurrency=1)
    stop = asyncio.Event()

    async def replica():
        async with start(app):
            await stop.wait()

    async with asyncio.TaskGroup() as tasks, start(Service("other")) as host:
        tasks.create_task(replica())
        await clock.settle()
        calls = Calls(host, tasks)
        calls.call(1)
        calls.call(2)
        await clock.settle()
        stop.set()
        async with start(app):
            await clock.settle()
            assert begun == [1, 2]
            await clock.advance(1)
        assert calls.outcomes == {1: 2, 2: 4}


async def test_what_was_lost_with_its_process_is_not_run_again(
    slow, app, start, broker, clock, message
):
    begun = slow()
    await broker.declare([rpc_queue("app.work", 10)])
    async with asyncio.TaskGroup() as tasks:
        request = message(b'{"number": 1}', deadline=clock.now() + 20)
        call = tasks.create_task(broker.request(to_rpc("app.work"), request))
        await clock.settle()
        async with broker.consume(rpc_queue("app.work", 10), lambda _: None, prefetch=1):
            pass  # A process that dies with it.
        async with start(app):
            reply = await call
    assert (begun, reply.type) == ([], "error")
    assert b"it may have run" in reply.body


class Mute(MemoryBroker):
    """A broker that has lost its connection when it is to answer."""

    def reply(self, request, reply):
        raise BrokerUnavailable("the connection is lost")


async def test_an_answer_that_cannot_be_given_takes_nobody_down(slow, app, start, clock, caplog):
    begun = slow()
    async with Mute(clock) as broker, start(app, broker=broker) as host:
        async with asyncio.TaskGroup() as tasks:
            calls = Calls(host, tasks)
            calls.call(1, timeout=3)
            await clock.advance(3)
            calls.call(2, timeout=3)
            await clock.advance(3)
        assert calls.outcomes == {1: "timeout", 2: "timeout"}
    assert begun == [1, 2]
    assert "the connection is lost" in caplog.text


async def test_a_backlog_does_not_delay_a_caller_longer_than_a_turn(slow, app, start, clock):
    begun = slow(concurrency=1)
    async with start(app) as host, asyncio.TaskGroup() as tasks:
        for number in range(10, 20):
            await host.caller.send("app.work", {"number": number})
        calls = Calls(host, tasks)
        await clock.settle()
        calls.call(1)
        await clock.advance(2)
        assert begun[:2] == [10, 1]
        assert calls.outcomes == {1: 2}
        await clock.advance(20)


async def test_a_function_may_call_another_and_shares_its_deadline(app, start, clock):
    @app.function
    async def inner() -> None:
        await sleep(clock, 10)

    @app.function(timeout=2)
    async def outer(ctx: Context) -> float | None:
        with suppress(InvocationTimeout):
            await ctx.invoke(inner)
        return ctx.remaining

    async with start(app) as host, asyncio.TaskGroup() as tasks:
        call = tasks.create_task(refused(host.caller.invoke(outer)))
        await clock.advance(2)
        assert isinstance(await call, InvocationTimeout)


async def test_a_refused_caller_is_told_when_to_come_again(slow, app, start, clock):
    slow(concurrency=1, max_pending=0)
    async with start(app) as host, asyncio.TaskGroup() as tasks:
        Calls(host, tasks).call(1)
        await clock.settle()
        with pytest.raises(Throttled) as error:
            await host.caller.invoke("app.work", {"number": 2})
        assert error.value.retry_after > 0
        await clock.advance(1)


async def test_an_inbox_is_there_as_soon_as_the_function_runs(app, start, broker):
    @app.function
    async def work() -> None: ...

    async with start(app):
        assert broker.statistics()[inbox("app.work").name].consumers == 1
