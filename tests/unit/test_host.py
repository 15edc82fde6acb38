"""Services running in one process: started in order, drained in reverse, whatever fails."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from eventmesh.aio.clock import sleep
from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.context import Context
from eventmesh.host import host_services
from eventmesh.model.errors import BrokerUnavailable, DeclarationError
from eventmesh.model.settings import Settings
from eventmesh.model.topology import inbox, rpc_queue
from eventmesh.model.value import value
from eventmesh.service import Service


@pytest.fixture
def app():
    return Service("app")


@pytest.fixture
def events():
    return []


@value
class Recorded:
    """A trigger whose source writes down when it is opened and left."""

    kind: ClassVar[str] = "recorded"
    events: ClassVar[list[str]] = []
    opens_with: ClassVar[Exception | None] = None
    leaves_with: ClassVar[Exception | None] = None

    def describe(self):
        return "recorded"

    def check(self, function): ...

    @classmethod
    @asynccontextmanager
    async def source(cls, bound, runtime):
        if cls.opens_with is not None:
            raise cls.opens_with
        cls.events.append(f"open for {len(bound)}")
        yield
        cls.events.append("left")
        if cls.leaves_with is not None:
            raise cls.leaves_with


@pytest.fixture
def recorded(events):
    """A kind of trigger of the test's own."""

    def recorded(opens_with=None, leaves_with=None):
        attributes = {"events": events, "opens_with": opens_with, "leaves_with": leaves_with}
        return type("Own", (Recorded,), attributes)()

    return recorded


def resource(app, name, events, failure=None):
    kind = type(name, (), {})

    async def opened() -> AsyncIterator[kind]:
        if failure:
            raise failure
        events.append(f"{name} opened")
        yield kind()
        events.append(f"{name} closed")

    app.resource(opened)
    return kind


async def test_what_is_opened_first_is_closed_last(app, start, events, recorded):
    resource(app, "Pool", events)
    resource(app, "Cache", events)
    trigger = recorded()

    @app.function(trigger)
    async def one() -> None: ...

    @app.function(trigger)
    async def two() -> None: ...

    async with start(app):
        events.append("running")
    assert events == [
        "Pool opened",
        "Cache opened",
        "open for 2",
        "running",
        "left",
        "Cache closed",
        "Pool closed",
    ]


async def test_a_resource_that_cannot_be_opened_is_named_and_the_others_are_closed(
    app, start, events
):
    resource(app, "Pool", events)
    resource(app, "Cache", events, ConnectionError("no route"))
    with pytest.raises(ConnectionError, match="no route") as error:
        async with start(app):
            events.append("running")
    (note,) = error.value.__notes__
    assert note.startswith("This was raised while app opened its resource ")
    assert note.endswith("Cache.")
    assert events == ["Pool opened", "Pool closed"]


async def test_a_source_that_cannot_be_opened_raises_as_it_is(app, start, events, recorded):
    resource(app, "Pool", events)

    @app.function(recorded(opens_with=DeclarationError("not like this")))
    async def one() -> None: ...

    with pytest.raises(DeclarationError, match="not like this"):
        async with start(app):
            events.append("running")
    assert events == ["Pool opened", "Pool closed"]


async def test_what_fails_at_leaving_keeps_nothing_from_being_closed(
    app, start, events, recorded, broker
):
    resource(app, "Pool", events)

    @app.function(recorded(leaves_with=OSError("cannot close")))
    async def one() -> None: ...

    with pytest.raises(OSError, match="cannot close"):
        async with start(app):
            pass
    assert events == ["Pool opened", "open for 1", "left", "Pool closed"]
    assert {one.consumers for one in broker.statistics().values()} == {0}


async def test_an_error_of_the_block_is_raised_as_it_is_and_everything_is_closed(
    app, start, events, recorded, broker
):
    resource(app, "Pool", events)

    @app.function(recorded())
    async def one() -> None: ...

    with pytest.raises(ValueError, match="of the block"):
        async with start(app):
            raise ValueError("of the block")
    assert events[-2:] == ["left", "Pool closed"]
    assert {one.consumers for one in broker.statistics().values()} == {0}


async def test_two_services_have_two_names(start):
    with pytest.raises(DeclarationError, match="two services are called 'app'"):
        async with start(Service("app"), Service("other"), Service("app")):
            pass


class Fatal(BaseException):
    """What no guard catches, as it is with a bug of ours."""


async def test_a_worker_that_dies_takes_the_host_down_and_is_heard_of(
    app, start, events, broker, clock
):
    resource(app, "Pool", events)

    @app.function
    async def work() -> None: ...

    @app.function
    async def wait() -> None:
        await asyncio.Event().wait()

    def dying(handler):
        async def run(invocation):
            if invocation.function == "app.work":
                raise Fatal
            return await handler(invocation)

        return run

    app.middleware = (dying,)
    with pytest.RaisesGroup(Fatal):
        async with start(app) as host:
            await host.caller.send("app.wait")
            await clock.settle()
            await host.caller.send("app.work")
            await asyncio.Event().wait()
    assert events == ["Pool opened", "Pool closed"]
    # What ran beside it was requeued; what it died of counts as a crash.
    assert (await broker.get(inbox("app.wait"))).losses == 0
    assert (await broker.get(inbox("app.work"))).losses == 1


async def test_reserved_concurrency_holds_over_processes(app, start, clock):
    running, most = 0, 0

    @app.function(reserved_concurrency=2)
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await sleep(clock, 1)
        running -= 1

    async with start(app) as host, start(app), start(app):
        for _ in range(8):
            await host.caller.send(work)
        await clock.advance(4)
    assert (most, running) == (2, 0)


async def test_threads_end_with_their_host(app, start):
    @app.function
    def where() -> str:
        return threading.current_thread().name

    async with start(app) as host:
        name = await host.caller.invoke(where)
        assert name.startswith("app.where")
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(60)
            assert not thread.is_alive()


async def test_what_a_host_tells_of_itself(app, start, clock):
    @app.function
    async def work() -> None: ...

    async with start(app) as host:
        assert host.functions == {"app.work": work.spec}
        assert host.addresses == {}
        assert host.statistics() == {"app.work": {"running": 0, "waiting": 0, "throttled": 0}}
        await host.caller.send(work)
        await clock.settle()
    samples = {
        sample.name: sample.value
        for family in host.metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("function") == "app.work"
    }
    assert samples["eventmesh_invocations_total"] == 1


async def test_the_address_of_http_is_announced(app, broker, clock):
    settings = Settings(http_port=0, grace=1)
    async with host_services([app], broker, settings, clock=clock) as host:
        assert host.addresses["http"].startswith("http://127.0.0.1:")


async def test_calls_of_handlers_may_be_carried_by_something_else(app, broker, clock):
    class Recording(BrokerTransport):
        async def send(self, destination, message, delay):
            sent.append(destination)

    sent = []

    @app.function
    async def work(ctx: Context) -> None:
        await ctx.send("elsewhere.work")

    async with host_services(
        [app], broker, Settings(), clock=clock, http=None, transport=Recording(broker)
    ) as host:
        await host.caller.invoke(work)
    assert sent == ["elsewhere.work"]


async def test_a_broker_that_is_not_open_is_unavailable(app, start, broker):
    app.function(name="work")(lambda: None)
    await broker.__aexit__(None, None, None)
    with pytest.raises(BrokerUnavailable):
        async with start(app):
            pass


async def test_all_functions_have_their_line_before_any_inbox_is_consumed(app, start, broker):
    app.function(name="one")(lambda: None)
    app.function(name="two")(lambda: None)
    async with start(app):
        names = list(broker.statistics())
    lines = [names.index(rpc_queue(f"app.{name}", 100).name) for name in ("one", "two")]
    inboxes = [names.index(inbox(f"app.{name}").name) for name in ("one", "two")]
    assert max(lines) < min(inboxes)


class Counter:
    """A handler with a state."""

    count = 0

    async def __call__(self, by: int) -> int:
        self.count += by
        return self.count

    def reset(self) -> int:
        self.count = 0
        return self.count


async def test_objects_and_their_methods_run_as_functions_do(app, start):
    counter = Counter()
    app.function(name="count")(counter)
    app.function(counter.reset)
    async with start(app) as host:
        assert await host.caller.invoke("app.count", {"by": 2}) == 2
        assert await host.caller.invoke("app.count", {"by": 3}) == 5
        assert await host.caller.invoke("app.reset") == 0
    assert counter.count == 0
