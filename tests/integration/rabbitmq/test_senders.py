"""Who published a message, on a real node, which checks it."""

import asyncio
import time
from uuid import uuid4

import pytest

from eventmesh import Context, DurableContext, Retry, Service
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties, encode_user
from eventmesh.durable.completion import DURABLE, TURN, WAKE
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.host import host_services
from eventmesh.model.access.identity import Identity
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox, to_queue, to_rpc


@pytest.fixture
async def login(rabbitmq):
    """Makes users, and gives the URL with which one logs in to the virtual host of the test."""
    url = await rabbitmq.new_virtual_host()
    address = parse_address(url)
    made = []

    async def login(user):
        name = f"{user}_{uuid4().hex}"
        await rabbitmq.ctl("add_user", name, "secret")
        made.append(name)
        await rabbitmq.ctl("set_permissions", "-p", address.virtual_host, name, ".*", ".*", ".*")
        return name, url.replace(f"{address.user}:{address.password}@", f"{name}:secret@")

    yield login
    for name in made:
        await rabbitmq.ctl("delete_user", name)


def stored(**fields):
    return Message(b"{}", "id", time.time(), caller="orders.place", principal="user:ada", **fields)


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_a_message_has_the_user_who_published_it(login, delay):
    (name, url), (_, other) = await login("a"), await login("b")
    queue = inbox("app.f")
    async with RabbitBroker(url) as ours, RabbitBroker(other) as theirs:
        await ours.declare([queue])
        # What it had before does not count: RabbitMQ would refuse it.
        await ours.publish(to_queue(queue), stored(sender="somebody"), delay=delay)
        while (delivery := await theirs.get(queue)) is None:
            pass
        assert delivery.message.sender == name
        delivery.ack()


async def test_rabbitmq_refuses_another_user(login):
    _, url = await login("a")
    connection = await connect(parse_address(url), "forger")
    channel = await connection.open_channel()
    forged = encode_properties(stored(), durable=True, user=encode_user("orders"))
    channel.publish_unconfirmed(publish_target("", "q", mandatory=False), forged, b"{}")
    assert "user_id property set to 'orders'" in await channel.closed
    await connection.close()


async def test_callers_are_believed_by_who_published_at_each_hop(login):
    (service, url), (_, evil_url) = await login("app"), await login("evil")
    app, seen = Service(service), []
    settings = Settings(broker_users="per-service", gateways=("nobody",), grace=5)

    @app.function(retry=Retry(2, initial=0.05))
    async def fail(ctx: Context) -> None:
        seen.append((ctx.caller, ctx.invocation.principal))
        raise ValueError("no")

    @app.function
    async def tell(ctx: Context) -> str:
        return ctx.caller

    async with (
        RabbitBroker(url) as broker,
        RabbitBroker(evil_url) as stranger,
        host_services([app], broker, settings, http=None),
    ):
        name = fail.full_name
        await stranger.publish(to_queue(inbox(name)), stored())
        while (dead := await broker.get(dead_letters(name))) is None:
            pass
        assert dead.message.sender == service
        dead.ack()
        request = stored(deadline=2e9)
        reply = await stranger.request(to_rpc(tell.full_name), request)
        assert (reply.body, reply.sender) == (b'""', service)
    assert seen == [("", "")] * 2


async def test_a_forged_turn_neither_goes_on_nor_changes_as_whom_it_acts(login, tmp_path):
    (service, url), (_, evil_url), (gateway, gateway_url) = [
        await login(user) for user in ("app", "evil", "gateway")
    ]
    app, seen = Service(service, store=f"sqlite:///{tmp_path}/app.db"), []
    settings = Settings(broker_users="per-service", gateways=(gateway,), grace=5)
    began, goes_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        seen.append(ctx.identity.principal)
        if not began.is_set():
            began.set()
            await goes_on.wait()
        await ctx.wait(1)
        await ctx.send(tell)

    @app.function
    async def tell(ctx: Context) -> None:
        seen.append(ctx.identity.principal)
        told.set()

    name, id = place.full_name, "e1" * 16
    ada, evil = (encode_identity(Identity(f"jwt:{who}", "jwt")) for who in ("ada", "evil"))

    def forged(type):
        return Message(
            b'{"execution": "%b", "turn": 1}' % id.encode(),
            new_id(),
            time.time(),
            deadline=time.monotonic() + 60,
            trigger=DURABLE,
            type=type,
            caller=name,
            principal=evil,
        )

    async with (
        RabbitBroker(url) as broker,
        RabbitBroker(evil_url) as stranger,
        RabbitBroker(gateway_url) as door,
        host_services([app], broker, settings, http=None),
    ):
        begun = Message(b"null", id, time.time(), principal=ada)
        await door.publish(to_queue(inbox(name)), begun)
        await began.wait()
        for type in (TURN, WAKE):
            reply = await stranger.request(to_rpc(name), forged(type))
            assert b"may not make an execution" in reply.body
        assert seen == ["jwt:ada"]
        # One that is believed has it begin anew, as the one who began it all the same.
        await door.request(to_rpc(name), forged(TURN))
        goes_on.set()
        await told.wait()
    assert seen == ["jwt:ada"] * 4
