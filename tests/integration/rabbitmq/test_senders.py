"""Who published a message, on a real node, which checks it."""

import time
from uuid import uuid4

import pytest

from eventmesh import Context, Retry, Service
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties, encode_user
from eventmesh.host import host_services
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
