"""A version that subscribes to less than the one before it, rolled out on a real RabbitMQ."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from waiting import DEADLINE

from eventmesh import Event, Service, on
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.host import host_services
from eventmesh.leftovers import keep_records, keeper
from eventmesh.model.errors import Throttled
from eventmesh.model.settings import Settings
from eventmesh.model.topology import Binding, Queue, inbox, record_name
from eventmesh.presence import announce
from eventmesh.processes.instance_info import build_instance

GRACE = 0.2


def version(number, *, f, g=()):
    """A version of the service whose functions note the events that they get."""
    service = Service("s", version=number)
    got = []

    @service.function(on.event(*f), name="f")
    async def take_f(event: Event) -> None:
        got.append(("f", event.type))

    if g:

        @service.function(on.event(*g), name="g")
        async def take_g(event: Event) -> None:
            got.append(("g", event.type))

    return service, got


@asynccontextmanager
async def process(url, service):
    """A process of its own, as `serve_services` runs it, in a hurry."""
    clock, settings = SystemClock(), Settings()
    async with (
        RabbitBroker(url, connect_timeout=DEADLINE) as broker,
        host_services([service], broker, settings, clock=clock, http=None) as host,
    ):
        describe = build_instance(host, [service], settings, clock)
        async with (
            announce(broker, clock, describe),
            keep_records(broker, clock, describe(), GRACE),
        ):
            yield host


async def until(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


async def emit_until_refused(host):
    emitted = 0
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await host.caller.emit("order.placed", {})
            except Throttled:
                return emitted
            emitted += 1


async def emit_until_taken(host):
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await host.caller.emit("order.placed", {})
            except Throttled:
                await asyncio.sleep(0.01)
            else:
                return 1


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(keeper, "POLL_SECONDS", 0.3)


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


async def test_a_deployment_that_drops_a_pattern_and_a_function(url):
    wide, narrow = ("order.*",), ("order.placed",)
    # It stands for one of five million messages.
    small = Queue(inbox("s.g").name, "inbox", max_length=5)
    old, old_got = version("1", f=wide, g=narrow)
    new, new_got = version("2", f=narrow)
    async with RabbitBroker(url, connect_timeout=DEADLINE) as broker, AsyncExitStack() as rolling:
        await broker.declare([small], [Binding(small, "order.placed")])
        first = await rolling.enter_async_context(process(url, old))
        await first.caller.emit("order.cancelled", {})
        async with process(url, new) as second:
            for type in ("order.placed", "order.cancelled"):
                await second.caller.emit(type, {})
            # The old version still runs, and gets all that it asks for.
            await until(lambda: ("g", "order.placed") in old_got)
            await until(lambda: len(old_got) + len(new_got) == 4)
            new_got.clear()
            # Nothing is unbound before the inbox that nobody consumes any more is full.
            async with broker.lease(record_name("s")):
                await rolling.aclose()
                emitted = await emit_until_refused(second)
            emitted += await emit_until_taken(second)
            await until(lambda: len(new_got) >= emitted)
            left = await broker.depth(small)
            assert left >= 5

            new_got.clear()
            for _ in range(50):
                await second.caller.emit("order.cancelled", {})
                await second.caller.emit("order.placed", {})
            await until(lambda: len(new_got) >= 50)
            assert set(new_got) == {("f", "order.placed")}
            assert await broker.depth(small) == left
