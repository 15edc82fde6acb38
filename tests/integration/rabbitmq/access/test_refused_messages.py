# ruff: noqa: SLF001 - whether a channel was closed is nobody else's business
"""What RabbitMQ refuses by rights is AccessDenied, and hurts nobody else's messages."""

import asyncio
from uuid import uuid4

import pytest
from waiting import DEADLINE

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.model.errors import AccessDenied
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, rpc_queue, to_queue, to_rpc, to_subscribers


def message(**fields):
    clock = SystemClock()
    return Message(b"1", uuid4().hex, clock.now(), deadline=clock.monotonic() + DEADLINE, **fields)


@pytest.fixture
async def evil(mesh):
    async with mesh.broker(mesh.evil) as evil:
        yield evil


@pytest.fixture
def caller(evil):
    """What a handler calls with, which does not know what its service may do."""
    return Caller(BrokerTransport(evil), SystemClock(), "")


WAYS = {
    "send": lambda caller, mesh: caller.send(f"{mesh.shop}.secret"),
    "send later": lambda caller, mesh: caller.send(f"{mesh.shop}.secret", delay=1),
    "invoke": lambda caller, mesh: caller.invoke(f"{mesh.shop}.secret", timeout=DEADLINE),
    "emit": lambda caller, mesh: caller.emit("stock.low"),
    "emit later": lambda caller, mesh: caller.emit("stock.low", delay=1),
    "send to a queue": lambda caller, mesh: caller.send("queue:money"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_who_was_refused_what_and_what_to_do(mesh, evil, caller, way):
    publishing = evil._publisher._publish_channel.current
    requesting = evil._rpc_client._publish_channel.current
    with pytest.raises(AccessDenied) as refused:
        await WAYS[way](caller, mesh)
    told = str(refused.value)
    what = {"emit": "stock.low", "send to": "money"}.get(way.partition(" to ")[0], "secret")
    assert repr(mesh.evil) in told
    assert ("emits=" if "emit" in way else "calls=") in told
    assert "eventmesh export broker" in told
    assert what in told or "stock.low" in told or "money" in told
    assert publishing.is_open
    assert requesting.is_open


async def test_messages_of_others_under_way_are_not_touched(mesh, evil):
    allowed, refused = to_queue(inbox(f"{mesh.shop}.open")), to_queue(inbox(f"{mesh.shop}.secret"))
    results = await asyncio.gather(
        *(
            evil.publish(refused if number % 10 == 5 else allowed, message())
            for number in range(200)
        ),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [
        AccessDenied if number % 10 == 5 else type(None) for number in range(200)
    ]


async def test_what_follows_a_refused_message_is_sent_once_more(mesh, node, login_again):
    """With one user for all nothing is asked before, and RabbitMQ closes the channel."""
    name = f"mover{uuid4().hex[:8]}"
    inboxes = [inbox(f"{name}.one"), inbox(f"{name}.two")]
    url = await login_again(name)
    async with RabbitBroker(url, connect_timeout=DEADLINE) as broker:
        await broker.declare(inboxes)
        await node.ctl("set_permissions", "-p", mesh.vhost, name, ".*", "^(?!em.events).*", ".*")
        event = broker.publish(to_subscribers("a.b"), message(type="a.b"))
        others = [broker.publish(to_queue(inboxes[n % 2]), message()) for n in range(100)]
        refused, *stored = await asyncio.gather(event, *others, return_exceptions=True)
        assert isinstance(refused, AccessDenied)
        assert name in str(refused)
        assert "em.events" in str(refused)
        assert stored == [None] * 100
        assert await broker.depth(inboxes[0]) + await broker.depth(inboxes[1]) == 100


async def test_a_call_that_one_user_for_all_has_no_right_to(mesh, node, login_again):
    name = f"mover{uuid4().hex[:8]}"
    url = await login_again(name)
    async with RabbitBroker(url, connect_timeout=DEADLINE) as broker:
        await broker.declare([rpc_queue(f"{name}.f", 5)])
        await node.ctl("set_permissions", "-p", mesh.vhost, name, ".*", "^em.*", ".*")
        with pytest.raises(AccessDenied, match=r"exchange 'amq.default'.* refused for user 'mover"):
            await broker.request(to_rpc(f"{name}.f"), message())


@pytest.fixture
async def login_again(mesh, node):
    """Makes a user that may do everything, in the mode with one user for all services."""
    made = []

    async def login(name):
        await node.ctl("add_user", name, "secret")
        made.append(name)
        await node.ctl("set_permissions", "-p", mesh.vhost, name, ".*", ".*", ".*")
        return f"amqp://{name}:secret@{mesh.host}/{mesh.vhost}"

    yield login
    for name in made:
        await node.ctl("delete_user", name)
