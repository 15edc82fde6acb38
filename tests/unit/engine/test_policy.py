"""Who may not call a function is refused where it runs, whatever the way."""

import asyncio
import logging

import pytest

from eventmesh import AccessDenied, Context, Retry, Service, on
from eventmesh.auth import Identity
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.settlement import ERROR_TYPE
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, to_function, to_rpc

CI = Identity("token:ci", "token", frozenset(("invoke",)))
THRICE = Retry(3, initial=1, jitter="none")


@pytest.fixture
def runs():
    return []


@pytest.fixture
def services(runs):
    """A service with guarded functions, and two that call them."""
    shop = Service("shop")

    @shop.function(access="private", retry=THRICE)
    async def secret() -> None:
        runs.append("secret")

    @shop.function(callers=["orders.*", "token:ci"], retry=THRICE)
    async def pay() -> None:
        runs.append("pay")

    @shop.function(on.event("paid"), callers=["orders.*"], access="mesh")
    async def confirm(order: int) -> None:
        runs.append("confirm")

    @shop.function(on.event("paid"), access="private", concurrency=1)
    async def count(order: int) -> None:
        runs.append("count")

    for service in (shop, orders := Service("orders"), evil := Service("evil")):

        @service.function(name="call")
        async def call(name: str, how: str, ctx: Context) -> str:
            try:
                if how == "invoke":
                    await ctx.invoke(name)
                elif how == "send":
                    await ctx.send(name)
                else:
                    await ctx.emit(name, {"order": 1})
            except AccessDenied as denied:
                return str(denied)
            return "done"

    return shop, orders, evil


@pytest.fixture
async def host(services, start):
    async with start(*services) as host:
        yield host


async def by(host, service, name, how):
    return await host.caller.invoke(f"{service}.call", {"name": name, "how": how}, returns=str)


@pytest.mark.parametrize(
    ("caller", "name", "reason"),
    [
        ("shop", "shop.secret", ""),
        ("orders", "shop.secret", "its access is private, so only functions of 'shop' may"),
        ("orders", "shop.pay", ""),
        ("evil", "shop.pay", "its callers are orders.*, token:ci"),
        ("shop", "shop.pay", "its callers are orders.*, token:ci"),
    ],
)
async def test_a_call_that_waits(host, runs, caller, name, reason):
    said = await by(host, caller, name, "invoke")
    assert said == (f"{caller}.call may not call {name}: {reason}" if reason else "done")
    assert runs == ([] if reason else [name.partition(".")[2]])


async def test_a_client_without_an_identity(host, runs):
    with pytest.raises(
        AccessDenied, match=r"a client without an identity may not call shop\.secret"
    ):
        await host.caller.invoke("shop.secret")
    assert runs == []


@pytest.mark.parametrize(("identity", "allowed"), [(CI, True), (Identity("token:x", "t"), False)])
async def test_a_client_by_its_identity(host, broker, clock, runs, identity, allowed):
    principal = encode_identity(identity)
    request = Message(b"", "r-1", clock.now(), deadline=clock.now() + 5, principal=principal)
    reply = await broker.request(to_rpc("shop.pay"), request)
    assert (reply.type, runs) == (("", ["pay"]) if allowed else ("error", []))


async def test_an_identity_does_not_open_what_a_function_calls_for_it(host, broker, clock, runs):
    await broker.publish(
        to_function("shop.pay"),
        Message(b"", "a-1", clock.now(), caller="evil.call", principal=encode_identity(CI)),
    )
    await clock.settle()
    assert runs == []


@pytest.mark.parametrize("text", ["token:ci", '{"p":"token:ci"}', "{", "\x00"])
async def test_hostile_text_is_no_identity(host, broker, clock, runs, text):
    await broker.publish(to_function("shop.pay"), Message(b"", "a-1", clock.now(), principal=text))
    await clock.settle()
    assert runs == []


async def test_stored_work_becomes_a_dead_letter_without_a_retry(host, broker, clock, runs, caplog):
    with caplog.at_level(logging.WARNING, "eventmesh.engine.policy"):
        assert await by(host, "evil", "shop.pay", "send") == "done"
        await clock.settle()
    dead = await broker.get(dead_letters("shop.pay"))
    assert dead.message.attempt == 1
    assert dead.message.headers[ERROR_TYPE] == "access_denied"
    assert "evil.call may not call shop.pay" in dead.message.headers["em-reason"]
    assert runs == []
    assert "evil.call may not call shop.pay: its callers are" in caplog.text


async def test_events_are_taken_from_those_who_are_listed(host, clock, runs):
    assert await by(host, "evil", "paid", "emit") == "done"
    await clock.settle()
    assert runs == ["count"]  # Private, but its own trigger fires it.
    await by(host, "orders", "paid", "emit")
    await clock.settle()
    assert sorted(runs) == ["confirm", "count", "count"]


@pytest.mark.parametrize("trigger", ["every", "queue", "http", "destination", "event"])
async def test_a_message_does_not_choose_a_trigger_that_was_not_declared(
    host, broker, clock, runs, trigger
):
    message = Message(b"", "a-1", clock.now(), trigger=trigger, type="x", caller="evil.call")
    await broker.publish(to_function("shop.secret"), message)
    await clock.settle()
    assert runs == []


async def test_refusals_are_counted_and_take_no_permit(host, broker, clock):
    count = host.metrics.registry.get_sample_value
    labels = {"function": "shop.secret"}
    assert count("eventmesh_access_denied_total", labels) == 0
    await asyncio.gather(*(by(host, "evil", "shop.secret", "invoke") for _ in range(3)))
    assert count("eventmesh_access_denied_total", labels) == 3
    assert host.statistics()["shop.secret"] == {"running": 0, "waiting": 0, "throttled": 0}
    assert count("eventmesh_access_denied_total", {"function": "shop.call"}) is None


async def test_a_redrive_does_not_make_it_allowed(host, broker, clock, runs):
    await by(host, "evil", "shop.pay", "send")
    await clock.settle()
    assert await BrokerDeadLetters(broker, clock).redrive("shop.pay") == 1
    await clock.settle()
    assert (await broker.get(dead_letters("shop.pay"))).message.caller == "evil.call"
    assert runs == []
