"""Functions fired by events: a copy for each function, or for each of its instances."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from eventmesh.aio.clock import SystemClock, sleep
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.engine.context import Context
from eventmesh.host import host_services
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import Event
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters
from eventmesh.service import Service
from eventmesh.triggers import on

ONCE_MORE = Retry(2, initial=1, jitter="none")


@pytest.fixture
def app():
    return Service("app")


@pytest.fixture
def seen():
    return []


async def test_each_subscribed_function_gets_its_own_copy(app, start, clock, seen):
    @app.function(on.event("order.placed"))
    async def bill(event: Event) -> None:
        seen.append(("bill", event.data, event.id))

    @app.function(on.event("order.*"))
    async def pack(event: Event) -> None:
        seen.append(("pack", event.data, event.id))

    @app.function(on.event("parcel.#"))
    async def other(event: Event) -> None:
        seen.append(("other", event.data, event.id))

    async with start(app) as host:
        sent = await host.caller.emit("order.placed", {"n": 1})
        await clock.settle()
    assert sorted(seen) == [("bill", {"n": 1}, sent), ("pack", {"n": 1}, sent)]


async def test_several_patterns_of_a_function_are_one_subscription(app, start, clock, seen):
    @app.function(on.event("order.*", "#.placed"), on.event("order.placed"))
    async def note(event: Event) -> None:
        seen.append(event.type)

    async with start(app) as host:
        for type in ("order.placed", "parcel.placed", "order.shipped", "order"):
            await host.caller.emit(type)
        await clock.settle()
    assert sorted(seen) == ["order.placed", "order.shipped", "parcel.placed"]


async def test_replicas_share_the_copy_of_their_function(app, start, clock, seen):
    @app.function(on.event("order.placed"), concurrency=1)
    async def note(number: int) -> None:
        seen.append(number)
        await sleep(clock, 1)

    async with start(app) as host, start(app):
        for number in range(6):
            await host.caller.emit("order.placed", {"number": number})
        await clock.advance(3)
    assert sorted(seen) == list(range(6))


async def test_the_data_is_the_payload(app, start, clock, seen):
    @app.function(on.event("order.placed"))
    async def note(number: int, ctx: Context) -> None:
        seen.append((number, ctx.trigger, ctx.caller))

    @app.function
    async def place(ctx: Context) -> None:
        await ctx.emit("order.placed", {"number": 3})

    async with start(app) as host:
        await host.caller.invoke(place)
        await clock.settle()
    assert seen == [(3, "event", "app.place")]


async def test_events_wait_for_a_subscriber_that_has_stopped(app, start, clock, seen):
    @app.function(on.event("order.placed"))
    async def note(number: int) -> None:
        seen.append(number)

    async with start(Service("other")) as host:
        async with start(app):
            pass
        await host.caller.emit("order.placed", {"number": 1})
        assert seen == []
        async with start(app):
            await clock.settle()
    assert seen == [1]


async def test_a_failed_event_is_tried_again_for_its_function_alone(app, start, clock, seen):
    @app.function(on.event("order.placed"), retry=ONCE_MORE)
    async def bill(event: Event, ctx: Context) -> None:
        seen.append(("bill", ctx.attempt, event.type))
        raise ValueError("no")

    @app.function(on.event("order.placed"), retry=ONCE_MORE)
    async def pack(event: Event, ctx: Context) -> None:
        seen.append(("pack", ctx.attempt, event.type))

    async with start(app) as host:
        await host.caller.emit("order.placed")
        await clock.advance(10)
    assert sorted(seen) == [
        ("bill", 1, "order.placed"),
        ("bill", 2, "order.placed"),
        ("pack", 1, "order.placed"),
    ]


class TestBroadcast:
    """A copy for every instance that runs."""

    @pytest.fixture
    def instances(self):
        """What each of two instances has seen."""
        return [], []

    @pytest.fixture
    def instance(self, instances):
        """One of two processes that run the same service."""

        def instance(number, outcome=None, **options):
            app = Service("app")

            @app.function(on.event("cache.cleared", broadcast=True), name="clear", **options)
            async def clear(ctx: Context) -> None:
                instances[number].append(ctx.attempt)
                if outcome:
                    raise outcome

            return app

        return instance

    async def test_each_instance_gets_one(self, start, clock, instance, instances):
        async with start(instance(0)) as host, start(instance(1)):
            await host.caller.emit("cache.cleared")
            await clock.settle()
        assert instances == ([1], [1])

    async def test_a_retry_is_the_instances_own(self, start, clock, instance, instances):
        failing = instance(0, ValueError("no"), retry=ONCE_MORE)
        async with start(failing), start(instance(1)) as host:
            await host.caller.emit("cache.cleared")
            await clock.advance(10)
        assert instances == ([1, 2], [1])

    async def test_its_dead_letters_are_the_functions(self, start, clock, instance, broker):
        failing = instance(0, ValueError("no"), retry=Retry(1))
        async with start(failing) as host:
            await host.caller.emit("cache.cleared")
            await clock.settle()
        assert await broker.depth(dead_letters("app.clear")) == 1

    async def test_who_does_not_run_gets_none(self, start, clock, instance, instances):
        async with start(instance(0)):
            pass
        async with start(instance(1)) as host:
            await host.caller.emit("cache.cleared")
            await clock.settle()
        async with start(instance(0)):
            await clock.settle()
        assert instances == ([], [1])

    async def test_two_patterns_are_one_subscription(self, start, clock, seen, app):
        @app.function(on.event("a.*", broadcast=True), on.event("*.b", broadcast=True))
        async def note(event: Event) -> None:
            seen.append(event.type)

        async with start(app) as host:
            await host.caller.emit("a.b")
            await clock.settle()
        assert seen == ["a.b"]


@pytest.mark.parametrize(
    ("patterns", "advice"),
    [
        ((), "name at least one"),
        (("",), "is not an event pattern"),
        (("order placed",), "is not an event pattern"),
        ((["a", "b"],), "write patterns as strings"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(patterns, advice):
    with pytest.raises(DeclarationError, match=advice):
        on.event(*patterns)


def test_what_is_shown_of_it():
    assert on.event("a.b").describe() == "event a.b"
    assert on.event("a.*", "#", broadcast=True).describe() == "event a.*, # (broadcast)"


async def test_many_events_do_not_keep_others_from_running(app, start, clock, seen):
    @app.function(on.event("tick"))
    async def note() -> None:
        seen.append(1)

    async with start(app) as host, asyncio.TaskGroup() as tasks:
        for _ in range(500):
            tasks.create_task(host.caller.emit("tick"))
        await clock.settle()
    assert len(seen) == 500


class Asked(MemoryBroker):
    """A broker where an event is emitted as soon as callers of the function are served."""

    @asynccontextmanager
    async def consume(self, queue, *arguments, **options):
        async with super().consume(queue, *arguments, **options) as consumed:
            if queue.kind == "rpc":
                caller = Caller(BrokerTransport(self), SystemClock(), "app.order")
                await caller.emit("order.placed", {"n": 1})
            yield consumed


async def test_what_the_first_calls_emit_reaches_those_who_start_with_them(app, seen):
    @app.function
    async def order() -> None: ...

    done = asyncio.Event()

    @app.function(on.event("order.*"))
    async def bill(event: Event) -> None:
        seen.append(event.data)
        done.set()

    async with Asked() as broker, host_services([app], broker, Settings(), http=None):
        await asyncio.wait_for(done.wait(), 60)
    assert seen[0] == {"n": 1}
