"""What an operator redrives, or moves, says no more than RabbitMQ lets its first sender say.

A message that RabbitMQ itself sets aside was seen by no service: it is as its sender wrote it. Who
redrives it is believed by the service, so it must have lost what its sender may not say by then.
"""

import asyncio

import pytest
from pamqp import commands
from waiting import DEADLINE, PAUSE

from eventmesh import Client
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq.access.names import inlet
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.brokers.rabbitmq.amqp.properties import encode_user
from eventmesh.brokers.rabbitmq.datapath.publisher import encode_message
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, inbox


@pytest.fixture
def set_aside(mesh):
    """Publishes to an inbox as a user, and waits until RabbitMQ has dead-lettered it by its TTL."""

    async def set_aside(broker, function, user, **said):
        message = Message(b"1", "id", SystemClock().now(), **said)
        properties = encode_message(message, durable=True, expiration=1, user=encode_user(user))
        connection = await connect(parse_address(mesh.url(user)), "test")
        channel = await connection.open_channel(commands.Confirm.Select())
        target = publish_target(inlet(inbox(function).name), "", mandatory=True)
        await channel.publish(target, properties, message.body, message.id)
        await connection.close()
        async with asyncio.timeout(DEADLINE):
            while not await broker.depth(dead_letters(function)):
                await asyncio.sleep(PAUSE)

    return set_aside


@pytest.fixture
async def shop(mesh):
    async with mesh.broker(mesh.shop) as shop:
        await shop.declare([dead_letters(f"{mesh.shop}.open")])
        yield shop


async def taken(broker, queue):
    async with asyncio.timeout(DEADLINE):
        while (delivery := await broker.get(queue)) is None:
            await asyncio.sleep(PAUSE)
    delivery.ack()
    return delivery.message


@pytest.mark.parametrize("trigger", ["event", "timer", "http"])
async def test_a_forged_caller_or_trigger_is_not_redriven(mesh, shop, set_aside, trigger):
    function = f"{mesh.shop}.open"
    await set_aside(
        shop,
        function,
        mesh.evil,
        caller=f"{mesh.shop}.secret",
        principal="user:ada",
        trigger=trigger,
        type="payment.approved",
    )
    url = mesh.url(mesh.gateway, f"?users=per-service&gateways={mesh.gateway}")
    async with Client(url) as client:
        assert await client.dead_letters.redrive(function) == 1
    message = await taken(shop, inbox(function))
    assert message.sender == mesh.gateway
    assert (message.caller, message.principal) == ("", "")
    assert (message.trigger, message.type) == ("invoke", "")


async def test_what_its_sender_may_say_is_redriven(mesh, shop, set_aside):
    function = f"{mesh.shop}.open"
    await set_aside(shop, function, mesh.evil, caller=f"{mesh.evil}.f", trigger="invoke")
    await set_aside(shop, function, mesh.shop, caller="", trigger="timer")
    url = mesh.url(mesh.gateway, f"?users=per-service&gateways={mesh.gateway}")
    async with Client(url) as client:
        assert await client.dead_letters.redrive(function) >= 1
        async with asyncio.timeout(DEADLINE):
            while await shop.depth(inbox(function)) < 2:
                await client.dead_letters.redrive(function)
    messages = [await taken(shop, inbox(function)) for _ in range(2)]
    assert {(each.caller, each.trigger) for each in messages} == {
        (f"{mesh.evil}.f", "invoke"),
        ("", "timer"),
    }
