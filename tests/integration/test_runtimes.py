"""A runtime of another package runs functions, whatever fires them, under the same limits."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import echo_runtime
import pytest

from eventmesh import DeclarationError, InvocationTimeout, Retry, Service, on
from eventmesh.engine.binding import compile_signature
from eventmesh.engine.spec import FunctionSpec
from eventmesh.model.limits import Limits
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, named, to_queue

THRICE = Retry(attempts=3, initial=1, jitter="none")


@pytest.fixture
def installed(install):
    install("echo_package", "", "eventmesh.runtimes: echo = echo_runtime:Echo")


@pytest.fixture
def running(installed, serving, manual_clock):
    """Runs services while entered, and gives the runtime beside them."""

    @asynccontextmanager
    async def running(*services):
        async with serving(*services, clock=manual_clock) as served:
            yield served, echo_runtime.recent[-1]

    return running


@pytest.fixture
def app(installed):
    return Service("app")


async def never(number: int = 0) -> int:
    raise AssertionError("the handler itself is not run")


async def test_by_name(app, running):
    app.function(runtime="echo")(never)
    async with running(app) as (served, echo):
        assert echo.opened == ["app.never"]
        seen = await served.host.caller.invoke("app.never", {"number": 7})
    assert seen == {"function": "app.never", "payload": '{"number":7}', "route": None}
    assert echo.opened == []


async def test_by_its_route(app, running):
    app.function(on.get("/numbers/{number}"), runtime="echo")(never)
    async with running(app) as (served, _), served.http.get("/numbers/7") as answer:
        seen = await answer.json()
    assert seen["route"] == ["GET /numbers/{number}", {"number": "7"}]


async def test_by_a_queue_with_retries(app, running, manual_clock):
    app.function(on.queue("numbers"), retry=THRICE, runtime="echo")(never)
    async with running(app) as (served, echo):
        echo.failing["app.never"] = 2
        await publish(served, manual_clock, "numbers", b"7")
        await manual_clock.advance("10s")
        assert echo.attempts == [1, 2, 3]
        assert await served.broker.depth(dead_letters("app.never")) == 0


async def test_what_never_succeeds_is_a_dead_letter(app, running, manual_clock):
    app.function(on.queue("numbers"), retry=THRICE, runtime="echo")(never)
    async with running(app) as (served, echo):
        echo.failing["app.never"] = 9
        await publish(served, manual_clock, "numbers", b"7")
        await manual_clock.advance("10s")
        assert echo.attempts == [1, 2, 3]
        assert await served.broker.depth(dead_letters("app.never")) == 1


async def test_in_batches_of_which_the_failed_items_come_back(app, running, manual_clock):
    @app.function(on.queue("words", batch=3), retry=Retry(1), runtime="echo")
    async def read(words: list[str]) -> None:
        raise AssertionError("the handler itself is not run")

    async with running(app) as (served, echo):
        for word in (b'"good"', b'"bad"', b'"better"'):
            await publish(served, manual_clock, "words", word)
        await manual_clock.advance("1s")
        assert echo.batches == [[b'"good"', b'"bad"', b'"better"']]
        assert await served.broker.depth(dead_letters("app.read")) == 1


async def test_under_the_limits(app, running, manual_clock):
    app.function(concurrency=1, max_pending=0, timeout="1s", runtime="echo")(never)
    async with running(app) as (served, echo), asyncio.TaskGroup() as tasks:
        echo.release.clear()
        first = tasks.create_task(failure(served.host.caller.invoke("app.never")))
        await echo.busy.wait()
        async with served.http.post(
            "/2015-03-31/functions/app.never/invocations", data=b"{}"
        ) as refused:
            assert refused.status == 429
        await manual_clock.advance("1s")
    assert isinstance(first.result(), InvocationTimeout)


@dataclass
class Command:
    """A function that no Python callable implements."""

    spec: FunctionSpec
    line: str


def command(name, *triggers, runtime="echo"):
    spec = FunctionSpec(
        full_name=name,
        triggers=triggers,
        limits=Limits(),
        retry=THRICE,
        on_success=None,
        on_failure=None,
        runtime=runtime,
        schema=compile_signature(anything),
    )
    return Command(spec, "echo")


def anything(payload: Any = None) -> Any: ...


class TestFunctionsOfOtherLanguages:
    async def test_they_run_beside_those_of_python(self, app, running, manual_clock):
        app.function(runtime="echo")(never)
        app.add(command("app.foreign", on.post("/foreign"), on.event("called")))
        async with running(app) as (served, echo):
            assert echo.opened == ["app.never", "app.foreign"]
            async with served.http.post("/foreign", json=[1]) as answer:
                assert (await answer.json())["payload"] == "[1]"
            await served.host.caller.emit("called", 1)
            await manual_clock.advance("1s")
            assert echo.attempts == [1, 1]
            async with served.http.get("/openapi.json") as document:
                assert "/foreign" in (await document.json())["paths"]

    async def test_none_runs_where_only_python_does(self, app, serving):
        app.add(command("app.foreign", runtime="inline"))
        with pytest.raises(DeclarationError, match=r"app\.foreign is not a Python function"):
            async with serving(app):
                pass

    @pytest.mark.parametrize(
        ("name", "advice"),
        [
            ("other.foreign", "cannot be added to the service 'app'"),
            ("app.never", "two functions 'app.never'"),
        ],
    )
    def test_a_name_that_cannot_be(self, app, name, advice):
        app.function(never)
        with pytest.raises(DeclarationError, match=advice):
            app.add(command(name))

    def test_their_triggers_are_checked_as_those_of_others(self, app):
        with pytest.raises(DeclarationError, match=r"has no parameter for \{number\}"):
            app.add(command("app.foreign", on.get("/numbers/{number}")))
        with pytest.raises(DeclarationError, match="is listed twice"):
            app.add(command("app.foreign", on.get("/"), on.get("/")))


async def publish(served, clock, queue, body):
    message = Message(body, f"id-{len(body)}", clock.now())
    await served.broker.publish(to_queue(named(queue)), message)


async def failure(calling):
    try:
        return await calling
    except InvocationTimeout as error:
        return error
