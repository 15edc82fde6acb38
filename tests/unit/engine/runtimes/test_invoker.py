"""How one run goes: whatever a handler does comes back as a result."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel, field_validator

from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.context import Context
from eventmesh.engine.runtimes.failures import errors_as_results
from eventmesh.engine.runtimes.invoker import build_handler
from eventmesh.engine.spec import Environment
from eventmesh.model.errors import (
    DeclarationError,
    FunctionError,
    InvocationError,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    Reject,
    RetryLater,
    Throttled,
)
from eventmesh.model.invocation import ASYNC, SYNC, HttpRequest, Invocation, RouteTemplate
from eventmesh.model.result import Response, Result
from eventmesh.service import Service

HTTP = HttpRequest(RouteTemplate("POST /", (), True), "POST", "/", {}, {}, {})


class Order(BaseModel):
    item: str

    @field_validator("item")
    @classmethod
    def known(cls, item):
        if item == "bug":
            raise KeyError("of the validator")
        if item == "reject":
            raise Reject("of the validator")
        return item


async def test_the_result_is_what_the_handler_returns(run):
    async def greet(name: str, times: int = 1) -> str:
        return f"hello {name}" * times

    assert await run(greet, b'{"name": "Ann"}') == Result(b'"hello Ann"')


@pytest.mark.parametrize(
    ("returned", "body", "content_type"),
    [
        (None, b"null", "application/json"),
        (Response({"a": 1}, 201), b'{"a":1}', "application/json"),
        (Response(b"\xff\x00"), b"\xff\x00", "application/json"),
        (Response(b"\xff", content_type="image/png"), b"\xff", "image/png"),
        (Response("<p>ö", content_type="text/html"), "<p>ö".encode(), "text/html"),
        (Response("a", headers={"Content-Type": "text/plain"}), b"a", "text/plain"),
        (
            Response("a", content_type="application/problem+JSON"),
            b'"a"',
            "application/problem+JSON",
        ),
    ],
)
async def test_a_response_says_how_its_content_is_sent(run, returned, body, content_type):
    async def answer():
        return returned

    result = await run(answer)
    assert (result.error, result.body, result.content_type) == (None, body, content_type)


async def test_a_response_keeps_its_status_and_headers(run):
    async def answer() -> Response:
        return Response(1, 202, {"X-Shelf": "b"})

    result = await run(answer)
    assert (result.status, result.headers) == (202, {"X-Shelf": "b"})


async def test_bytes_are_passed_on_as_what_they_are(run):
    async def picture() -> bytes:
        return b"\x89PNG\xff"

    assert await run(picture) == Result(b"\x89PNG\xff", content_type="application/octet-stream")


@pytest.mark.parametrize("returned", [object(), b"raw", {"a": {1, object()}}, Response(object())])
async def test_a_result_that_has_no_json_form_is_a_failure(run, returned):
    async def odd():
        return returned

    assert isinstance((await run(odd)).error, FunctionError)


async def test_a_payload_that_does_not_fit_is_refused(run):
    async def place(order: Order) -> None:
        raise AssertionError("never run")

    error = (await run(place, b'{"item": 3}')).error
    assert isinstance(error, PayloadInvalid)
    assert error.errors[0]["loc"] == ("item",)


async def test_a_validator_with_a_bug_is_a_failure_of_its_function(run):
    async def place(order: Order) -> None:
        raise AssertionError("never run")

    error = (await run(place, b'{"item": "bug"}')).error
    assert isinstance(error, FunctionError)
    assert (error.type, error.message) == ("KeyError", "'of the validator'")
    assert isinstance((await run(place, b'{"item": "reject"}')).error, Reject)


async def test_a_payload_over_the_limit_is_not_looked_at(run):
    async def take(payload: bytes) -> int:
        return len(payload)

    assert (await run(take, b"x" * 100, max_payload=100)).body == b"100"
    error = (await run(take, b"x" * 101, max_payload=100)).error
    assert isinstance(error, PayloadTooLarge)
    assert (error.size, error.limit) == (101, 100)


async def test_a_result_over_the_limit_is_no_answer_to_a_caller_by_name(run):
    async def grow() -> bytes:
        return b"x" * 101

    error = (await run(grow, mode=SYNC, max_payload=100)).error
    assert isinstance(error, PayloadTooLarge)
    for welcome in ({"mode": ASYNC}, {"mode": SYNC, "http": HTTP}):
        assert len((await run(grow, max_payload=100, **welcome)).body) == 101


async def test_what_is_raised_is_told_with_the_handlers_own_traceback(run):
    async def deeper():
        raise ValueError("no such thing")

    async def fail():
        await deeper()

    error = (await run(fail)).error
    assert isinstance(error, FunctionError)
    assert (error.type, error.message) == ("ValueError", "no such thing")
    frames = [line for line in error.traceback.splitlines() if line.startswith("  File")]
    assert [frame.rpartition(" in ")[2] for frame in frames] == ["fail", "deeper"]


@pytest.mark.parametrize(
    "signal", [RetryLater(after=3), Reject("fake"), Problem(409, "taken")], ids=repr
)
async def test_a_signal_is_the_error_itself(run, signal):
    async def steer():
        raise signal

    assert (await run(steer)).error is signal


async def test_an_error_of_a_call_that_the_handler_made_is_a_failure_of_its_own(run):
    async def ask():
        raise Throttled("somebody else is full")

    error = (await run(ask)).error
    assert isinstance(error, FunctionError)
    assert error.type == "eventmesh.model.errors.Throttled"


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "raised",
    [
        asyncio.CancelledError(),
        SystemExit(3),
        Unspeakable(),
        ValueError("lone \ud800 surrogate"),
        ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
        StopIteration(1),
        StopAsyncIteration(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("threaded", [False, True])
async def test_whatever_a_handler_ends_with_is_a_failure(run, raised, threaded):
    async def fail():
        raise raised

    def fail_in_thread():
        raise raised

    error = (await run(fail_in_thread if threaded else fail)).error
    assert isinstance(error, FunctionError)
    assert (error.type + error.message + error.traceback).encode()


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_cancellation_from_outside_goes_on(run, clock, threaded):
    ended = threading.Event()

    async def wait() -> None:
        await asyncio.Event().wait()

    def wait_in_thread() -> None:
        ended.wait(60)

    running = asyncio.create_task(run(wait_in_thread if threaded else wait))
    await clock.settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    ended.set()


async def test_the_context_is_that_of_the_invocation(run):
    async def look(ctx: Context) -> list:
        return [ctx.id, ctx.attempt, ctx.function]

    assert (await run(look, attempt=3)).body == b'["a-1",3,"app.look"]'


async def test_resources_are_injected_by_their_type_or_what_they_derive_from(start, clock):
    app = Service("app")

    class Store:
        async def get(self) -> str:
            return "it"

    class Disk(Store):
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

    app.resource(Disk)

    @app.resource
    async def numbers() -> AsyncIterator[list[int]]:
        yield [1, 2]

    @app.function
    async def both(store: Store, disk: Disk, numbers: list[int]) -> list:
        return [await store.get(), store is disk, numbers]

    async with start(app) as host:
        assert await host.caller.invoke("app.both") == ["it", True, [1, 2]]


class TestThreads:
    """Handlers that are no coroutine functions."""

    async def test_a_handler_runs_in_a_thread_of_its_function(self, run):
        def where() -> str:
            return threading.current_thread().name

        assert (await run(where)).body.startswith(b'"app.where')

    async def test_it_sees_the_context_variables_of_its_invocation(self, run):
        variable = contextvars.ContextVar("variable", default="unset")
        variable.set("of the caller")

        def look() -> str:
            seen = variable.get()
            variable.set("of the handler")
            return seen

        assert (await run(look)).body == b'"of the caller"'
        assert variable.get() == "of the caller"

    async def test_its_traceback_begins_with_the_handler(self, run):
        def fail():
            raise ValueError("x")

        (frame,) = [
            line
            for line in (await run(fail)).error.traceback.splitlines()
            if line.startswith("  File")
        ]
        assert frame.endswith(" in fail")

    async def test_a_run_that_is_over_leaves_its_thread_taken_until_that_ends(self, start, clock):
        app, going_on, begun = Service("app"), threading.Event(), threading.Event()
        runs = []

        @app.function(concurrency=1, timeout=5)
        def work(number: int) -> int:
            runs.append(number)
            begun.set()
            going_on.wait(60)
            return number

        async with start(app) as host, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(outcome(host.caller.invoke("app.work", {"number": 1})))
            await asyncio.to_thread(begun.wait, 60)
            await clock.advance(5)
            assert (await first).startswith("app.work was ended after its timeout")
            second = tasks.create_task(host.caller.invoke("app.work", {"number": 2}))
            await clock.settle()
            assert runs == [1]
            going_on.set()
            assert await second == 2


async def outcome(call):
    try:
        return await call
    except InvocationError as error:
        return str(error)


class TestGuarded:
    """What a service's own middleware raises."""

    async def test_an_error_of_middleware_is_a_failure_of_the_run(self):
        async def broken(_):
            raise ValueError("of the middleware")

        error = (await errors_as_results(broken)(Invocation("a.b", "1", b"", 0.0))).error
        assert isinstance(error, FunctionError)
        assert error.message == "of the middleware"

    async def test_it_may_raise_signals_and_is_cancelled_like_a_handler(self, clock):
        async def rejecting(_):
            raise Reject("not from here")

        async def waiting(_):
            await asyncio.Event().wait()

        invocation = Invocation("a.b", "1", b"", 0.0)
        assert isinstance((await errors_as_results(rejecting)(invocation)).error, Reject)
        running = asyncio.create_task(errors_as_results(waiting)(invocation))
        await clock.settle()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    async def test_a_service_whose_middleware_fails_goes_on(self, start):
        def fail_first(handler):
            async def run(invocation):
                if invocation.payload == b"1":
                    raise KeyError("of the middleware")
                return await handler(invocation)

            return run

        app = Service("app", middleware=[fail_first])

        @app.function
        async def echo(number: int) -> int:
            return number

        async with start(app) as host:
            with pytest.raises(FunctionError, match="of the middleware"):
                await host.caller.invoke("app.echo", 1)
            assert await host.caller.invoke("app.echo", {"number": 2}) == 2


def test_a_runtime_that_only_calls_refuses_what_yields(broker, clock):
    @Service("app").function
    async def count():
        yield 1

    environment = Environment(clock, BrokerTransport(broker), {})
    with pytest.raises(DeclarationError, match=r"app\.count yields .* runtime='inline' cannot run"):
        build_handler(count, environment, count)
