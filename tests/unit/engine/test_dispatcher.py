"""From a function's name to its pipeline, which is built once and has one limiter."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from eventmesh.aio.clock import sleep
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.dispatcher import Dispatcher, build_occupancies
from eventmesh.engine.runtimes.inline import InlineRuntime
from eventmesh.engine.spec import Environment
from eventmesh.model.errors import FunctionNotFound, Throttled
from eventmesh.model.invocation import ASYNC, SYNC, HttpRequest, Invocation, RouteTemplate
from eventmesh.model.result import Result
from eventmesh.service import Service
from eventmesh.testing.clock import START

HTTP = HttpRequest(
    RouteTemplate("GET /{number}", ("number",), has_body=False),
    "GET",
    "/7",
    {"number": "7"},
    {},
    {},
)


def no_middleware(_):
    return ()


@pytest.fixture
async def handlers(app, broker, clock):
    """What runs the functions of the service."""
    environment = Environment(clock, BrokerTransport(broker), {})
    async with AsyncExitStack() as stack:
        yield {
            function.spec.full_name: await stack.enter_async_context(
                InlineRuntime().open(function, environment)
            )
            for function in app.functions.values()
        }


@pytest.fixture
def dispatcher(handlers, clock):
    def dispatcher(app, middleware=no_middleware, slots=()):
        occupancies = build_occupancies(app.specs, dict(slots))
        return Dispatcher(app.specs, handlers, clock, middleware, occupancies)

    return dispatcher


@pytest.fixture
def app(clock):
    app = Service("app")

    @app.function(concurrency=1, max_pending=1)
    async def work(number: int) -> int:
        await sleep(clock, 1)
        return number * 2

    @app.function
    async def other() -> str:
        return "other"

    return app


def invocation(number=0, function="app.work", mode=ASYNC):
    return Invocation(function, str(number), b'{"number": %d}' % number, START, mode)


async def test_an_invocation_runs_by_the_name_of_its_function(app, dispatcher):
    result = await dispatcher(app).dispatch(invocation(function="app.other"))
    assert result == Result(b'"other"')


async def test_a_name_that_is_not_there_is_an_error_as_a_result(app, dispatcher):
    result = await dispatcher(app).dispatch(invocation(function="app.gone"))
    assert isinstance(result.error, FunctionNotFound)
    assert result.error.name == "app.gone"


async def test_middleware_is_folded_once_the_first_outermost(app, dispatcher):
    built, seen = [], []

    def named(name):
        def wrap(handler):
            built.append(name)

            async def run(invocation):
                seen.append(name)
                return await handler(invocation)

            return run

        return wrap

    def middleware(function):
        return [named(f"outer of {function.full_name}"), named(f"inner of {function.full_name}")]

    made = dispatcher(app, middleware)
    for _ in range(2):
        await made.dispatch(invocation(function="app.other"))
    assert seen == ["outer of app.other", "inner of app.other"] * 2
    assert len(built) == 4  # Two for each of the two functions.


async def test_middleware_is_within_the_limits(app, dispatcher, clock):
    at_once, most = 0, 0

    def counting(handler):
        async def run(invocation):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            result = await handler(invocation)
            at_once -= 1
            return result

        return run

    made = dispatcher(app, lambda _: [counting])
    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(run(made, invocation(number)))
        await clock.advance(3)
    assert most == 1


async def run(dispatcher, one):
    return await dispatcher.dispatch(one)


async def test_whatever_fires_a_function_is_under_its_one_limiter(app, dispatcher, clock):
    made = dispatcher(app)
    over_http = replace(invocation(mode=SYNC), http=HTTP)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(run(made, invocation(4, mode=SYNC)))
        await clock.settle()
        waiting = tasks.create_task(run(made, over_http))
        await clock.settle()
        assert made.statistics()["app.work"] == {"running": 1, "waiting": 1, "throttled": 0}
        assert isinstance((await made.dispatch(over_http)).error, Throttled)
        await clock.advance(2)
    assert first.result() == Result(b"8")
    assert waiting.result() == Result(b"14")
    assert made.statistics() == {
        "app.work": {"running": 0, "waiting": 0, "throttled": 1},
        "app.other": {"running": 0, "waiting": 0, "throttled": 0},
    }


async def test_mesh_wide_slots_hold_over_dispatchers(app, dispatcher, clock):
    async with (
        MemoryBroker(clock) as broker,
        broker.slots("app.other", 1) as here,
        broker.slots("app.other", 1) as there,
    ):
        first = dispatcher(app, slots={"app.other": here})
        second = dispatcher(app, slots={"app.other": there})
        await there.acquire()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(run(first, invocation(function="app.other")))
            await clock.settle()
            assert not waiting.done()
            there.release()
        assert waiting.result() == Result(b'"other"')
        assert (await second.dispatch(invocation(function="app.other"))).error is None


async def test_what_is_watched(app, dispatcher, clock):
    made, watched = dispatcher(app), {}
    made.gauge(lambda name, function, read: watched.setdefault((name, function), read))
    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(run(made, invocation(number, mode=SYNC)))
        await clock.settle()
        numbers = {key: read() for key, read in watched.items()}
        await clock.advance(2)
    assert numbers == {
        ("throttles_total", "app.work"): 1,
        ("waiting", "app.work"): 1,
        ("abandoned_runs", "app.work"): 0,
        ("throttles_total", "app.other"): 0,
        ("waiting", "app.other"): 0,
        ("abandoned_runs", "app.other"): 0,
    }
