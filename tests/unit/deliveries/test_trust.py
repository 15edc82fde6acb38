"""A service whose broker has a user for each service: what reaches its functions."""

from dataclasses import replace

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.context import Context
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.host import host_services
from eventmesh.model.message import Message
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import (
    dead_letters,
    named,
    to_function,
    to_queue,
    to_rpc,
    to_subscribers,
)
from eventmesh.service import Service
from eventmesh.triggers import on

SETTINGS = Settings(broker_users="per-service")


@pytest.fixture
def message(clock):
    return Message(
        b"1",
        "id",
        clock.now(),
        deadline=clock.now() + 60,
        caller="orders.place",
        principal="user:ada",
        sender="evil",
    )


@pytest.fixture
def seen():
    return []


@pytest.fixture
def app(seen):
    app = Service("app")

    def take(ctx: Context) -> None:
        seen.append((ctx.caller, ctx.invocation.principal))

    async def take_all(numbers: list[int], ctx: Context) -> None:
        seen.append((ctx.caller, ctx.invocation.principal))

    @app.function(retry=Retry(2, initial=1, jitter="none"))
    async def fail(ctx: Context) -> None:
        take(ctx)
        raise ZeroDivisionError

    app.function(name="one")(take)
    app.function(on.get("/web"), name="web")(take)
    app.function(on.event("placed"), name="event")(take)
    app.function(on.event("placed", broadcast=True), name="all")(take)
    app.function(on.queue("q"), name="queue")(take)
    app.function(on.queue("b", batch=1), name="batch")(take_all)
    return app


@pytest.fixture
async def host(app, clock):
    async with (
        MemoryBroker(clock) as broker,
        host_services([app], broker, SETTINGS, clock=clock, http=None),
    ):
        yield broker


@pytest.mark.parametrize(
    "route", [to_function("app.one"), to_queue(named("q")), to_queue(named("b"))]
)
@pytest.mark.parametrize(
    ("sender", "believed"),
    [
        ("evil", ("", "")),
        ("orders", ("orders.place", "")),
        ("gateway", ("orders.place", "user:ada")),
    ],
)
async def test_stored_messages(host, clock, message, seen, route, sender, believed):
    await host.publish(route, replace(message, sender=sender))
    await clock.settle()
    caller, principal = believed
    # A batch has many callers.
    assert seen == [("" if route.key == named("b").name else caller, principal)]


async def test_requests_and_those_of_gateways(host, clock, message, seen):
    await host.request(to_rpc("app.one"), message)
    assert seen == [("", "")]
    await host.request(to_rpc("app.one"), replace(message, sender="orders"))
    assert seen[1:] == [("orders.place", "")]


@pytest.mark.parametrize(("sender", "caller"), [("evil", ""), ("orders", "orders.place")])
async def test_events(host, clock, message, seen, sender, caller):
    await host.publish(to_subscribers("placed"), replace(message, sender=sender, type="placed"))
    await clock.settle()
    assert seen == [(caller, "")] * 2


async def test_retries_keep_what_was_believed_and_nothing_else(host, clock, message, seen):
    await host.publish(to_function("app.fail"), message)
    await clock.advance(1)
    assert seen == [("", ""), ("", "")]
    dead = (await host.get(dead_letters("app.fail"))).message
    assert (dead.caller, dead.principal) == ("", "")


async def test_a_dead_letter_that_no_service_has_seen_is_redriven_without_a_caller(
    host, clock, message, seen
):
    await host.publish(to_queue(dead_letters("app.one")), message)
    letters = BrokerDeadLetters(host, clock, gateways=SETTINGS.gateways)
    assert await letters.redrive("app.one") == 1
    await clock.settle()
    assert seen == [("", "")]
