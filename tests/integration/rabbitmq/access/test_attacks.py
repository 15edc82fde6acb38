"""What a service that was taken over tries at RabbitMQ with its own user; RabbitMQ refuses it."""

import pytest
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed
from pamqp import commands


def publish(exchange, key="", **properties):
    async def attack(channel, names):
        await channel.basic_publish(
            b"{}",
            exchange=exchange.format(**names),
            routing_key=key.format(**names),
            properties=commands.Basic.Properties(
                **{name: text.format(**names) for name, text in properties.items()}
            ),
            mandatory=True,
        )

    return attack


def queue(method, name, **options):
    async def attack(channel, names):
        if method == "consume":
            await channel.basic_consume(name.format(**names), lambda _: None)
        elif method == "get":
            await channel.basic_get(name.format(**names))
        else:
            await getattr(channel, f"queue_{method}")(name.format(**names), **options)

    return attack


def declare(name, **arguments):
    async def attack(channel, names):
        texts = {
            f"x-{key.replace('_', '-')}": text.format(**names) for key, text in arguments.items()
        }
        await channel.queue_declare(name.format(**names), durable=True, arguments=texts)

    return attack


def exchange(method, name, **arguments):
    async def attack(channel, names):
        texts = {key.replace("_", "-"): text.format(**names) for key, text in arguments.items()}
        options = {"arguments": texts} if texts else {}
        await getattr(channel, f"exchange_{method}")(name.format(**names), **options)

    return attack


def bind(target, source, key=""):
    async def attack(channel, names):
        await channel.queue_bind(target.format(**names), source.format(**names), key)

    return attack


def unbind(target, source):
    async def attack(channel, names):
        await channel.queue_unbind(target.format(**names), source.format(**names), "")

    return attack


def bind_exchange(target, source, key="#"):
    async def attack(channel, names):
        await channel.exchange_bind(target.format(**names), source.format(**names), key)

    return attack


def unbind_exchange(target, source):
    async def attack(channel, names):
        await channel.exchange_unbind(target.format(**names), source.format(**names), "")

    return attack


MINE = "em.inbox.{evil}.f"
LADDER = "em.delay.{evil}.trap"

ATTACKS = {
    # Through the default exchange, which reaches every queue by its name.
    "default, inbox": publish("", "em.inbox.{shop}.secret"),
    "default, inbox that it may call": publish("", "em.inbox.{shop}.open"),
    "default, rpc": publish("", "em.rpc.{shop}.secret"),
    "default, dead letters": publish("", "em.dead.{shop}.open"),
    "default, named queue": publish("", "money"),
    "default, lease": publish("", "em.timers.{shop}"),
    "default, slots": publish("", "em.slots.{shop}.open.lease"),
    "default, delay": publish("", "em.delay.{shop}.0"),
    "default, presence": publish("", "em.presence.{shop}.asked.1"),
    "default, replies": publish("", "em.replies.{shop}.00"),
    "default, direct reply-to": publish("", "amq.rabbitmq.reply-to.g2dk"),
    "default, its own": publish("", MINE),
    # Through exchanges of others.
    "inbox not in calls": publish("em.to.inbox.{shop}.secret"),
    "rpc not in calls": publish("em.to.rpc.{shop}.secret"),
    "dead letters of others": publish("em.to.dead.{shop}.open"),
    "queue not in calls": publish("em.to.queue.money"),
    "leases and slots of others": publish("em.own.{shop}", "em.timers.{shop}"),
    "event not in emits": publish("em.event.payment.approved", "payment.approved"),
    "all events": publish("em.events", "payment.approved"),
    "all events, its own type": publish("em.events", "order.placed"),
    "delays of others": publish("em.delay.{shop}.0", "1.q.em.inbox.{shop}.secret"),
    "due delays of others": publish("em.delay.{shop}.due", "q.em.inbox.{shop}.secret"),
    "the shared delays": publish("em.delay.0", "1.q.em.inbox.{shop}.secret"),
    "amq.topic": publish("amq.topic", "x"),
    "amq.direct": publish("amq.direct", "x"),
    "amq.fanout": publish("amq.fanout", "x"),
    # Takes what is for others.
    "consume inbox": queue("consume", "em.inbox.{shop}.open"),
    "get inbox": queue("get", "em.inbox.{shop}.open"),
    "purge inbox": queue("purge", "em.inbox.{shop}.open"),
    "delete inbox": queue("delete", "em.inbox.{shop}.open"),
    "consume rpc": queue("consume", "em.rpc.{shop}.open"),
    "get rpc": queue("get", "em.rpc.{shop}.open"),
    "delete rpc": queue("delete", "em.rpc.{shop}.open"),
    "consume dead letters": queue("consume", "em.dead.{shop}.open"),
    "get dead letters": queue("get", "em.dead.{shop}.open"),
    "purge dead letters": queue("purge", "em.dead.{shop}.open"),
    "delete dead letters": queue("delete", "em.dead.{shop}.open"),
    "get named queue": queue("get", "money"),
    "purge named queue": queue("purge", "money"),
    "delete named queue": queue("delete", "money"),
    "consume broadcast": queue("consume", "em.broadcast.{shop}.open.1"),
    "delete broadcast": queue("delete", "em.broadcast.{shop}.open.1"),
    # Declares in the name of others.
    "declare an inbox": declare("em.inbox.{shop}.new"),
    "declare rpc": declare("em.rpc.{shop}.new"),
    "declare dead letters": declare("em.dead.{shop}.new"),
    "declare a lease": declare("em.timers.{shop}"),
    "declare slots": declare("em.slots.{shop}.open.0123"),
    "declare presence": declare("em.presence.{shop}.asked.1"),
    "declare a reply queue": declare("em.replies.{shop}.00"),
    "declare a delay": declare("em.delay.{shop}.0"),
    "declare any queue": declare("anything"),
    "declare any exchange": exchange("declare", "anything"),
    "declare an inlet": exchange("declare", "em.to.inbox.{shop}.new"),
    "declare events": exchange("declare", "em.event.payment.refunded"),
    # Lets RabbitMQ publish in its place.
    "dead-letter to an inlet": declare(LADDER, dead_letter_exchange="em.to.inbox.{shop}.secret"),
    "dead-letter to a queue": declare(
        LADDER, dead_letter_exchange="", dead_letter_routing_key="em.inbox.{shop}.secret"
    ),
    "dead-letter to events": declare(
        LADDER, dead_letter_exchange="em.events", dead_letter_routing_key="payment.approved"
    ),
    "dead-letter to an event": declare(LADDER, dead_letter_exchange="em.event.payment.approved"),
    "dead-letter to leases": declare(LADDER, dead_letter_exchange="em.own.{shop}"),
    "dead-letter to delays": declare(LADDER, dead_letter_exchange="em.delay.{shop}.due"),
    "dead-letter at least once": declare(
        LADDER,
        dead_letter_exchange="em.to.inbox.{shop}.secret",
        queue_type="quorum",
        dead_letter_strategy="at-least-once",
        overflow="reject-publish",
    ),
    "alternate exchange, inlet": exchange(
        "declare", LADDER, alternate_exchange="em.to.inbox.{shop}.secret"
    ),
    "alternate exchange, events": exchange("declare", LADDER, alternate_exchange="em.events"),
    "alternate exchange, default": exchange("declare", LADDER, alternate_exchange=""),
    # Binds.
    "bind an inbox": bind("em.inbox.{shop}.secret", "em.own.{evil}", "x"),
    "bind an inbox to presence": bind("em.inbox.{shop}.secret", "em.presence", "#"),
    "bind dead letters": bind("em.dead.{shop}.open", "em.own.{evil}", "x"),
    "eavesdrop on an inbox": bind(MINE, "em.to.inbox.{shop}.open"),
    "eavesdrop on rpc": bind(MINE, "em.to.rpc.{shop}.open"),
    "eavesdrop on an event": bind(MINE, "em.event.payment.approved"),
    "eavesdrop on its own event": bind(MINE, "em.event.order.placed"),
    "eavesdrop on all events": bind(MINE, "em.events", "#"),
    "eavesdrop on events of a prefix": bind(MINE, "em.events", "payment.*"),
    "eavesdrop with a pattern like its own": bind(MINE, "em.events", "stock.#"),
    "eavesdrop on leases": bind(MINE, "em.own.{shop}", "em.timers.{shop}"),
    "bind an inlet": bind_exchange("em.to.inbox.{shop}.secret", "em.own.{evil}"),
    "bind an inlet to presence": bind_exchange("em.to.inbox.{shop}.secret", "em.presence"),
    "bind all events": bind_exchange("em.events", "em.own.{evil}"),
    "bind an event": bind_exchange("em.event.payment.approved", "em.own.{evil}"),
    "bind replies as a source": bind_exchange("em.to.inbox.{shop}.secret", "em.replies"),
    # Takes away.
    "unbind an inbox": unbind("em.inbox.{shop}.open", "em.to.inbox.{shop}.open"),
    "unbind an event": unbind_exchange("em.events", "em.event.payment.approved"),
    "delete an inlet": exchange("delete", "em.to.inbox.{shop}.open"),
    "delete its own inlet": exchange("delete", "em.to.inbox.{evil}.f"),
    "delete all events": exchange("delete", "em.events"),
    "delete an event": exchange("delete", "em.event.payment.approved"),
    "delete replies": exchange("delete", "em.replies"),
    "delete presence": exchange("delete", "em.presence"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_rabbitmq_refuses(mesh, attack):
    async with mesh.channel(mesh.evil) as channel:
        with pytest.raises(ChannelAccessRefused):
            await attack(channel, {"evil": mesh.evil, "shop": mesh.shop})


GATEWAY_ATTACKS = {
    "consume inbox": queue("consume", "em.inbox.{shop}.open"),
    "get inbox": queue("get", "em.inbox.{shop}.open"),
    "purge inbox": queue("purge", "em.inbox.{shop}.open"),
    "delete inbox": queue("delete", "em.inbox.{shop}.open"),
    "get rpc": queue("get", "em.rpc.{shop}.open"),
    "delete rpc": queue("delete", "em.rpc.{shop}.open"),
    "get named queue": queue("get", "money"),
    "delete dead letters": queue("delete", "em.dead.{shop}.open"),
    "unbind an inbox": unbind("em.inbox.{shop}.open", "em.to.inbox.{shop}.open"),
    "unbind rpc": unbind("em.rpc.{shop}.open", "em.to.rpc.{shop}.open"),
    "eavesdrop on an inbox": bind("em.inbox.{evil}.f", "em.to.inbox.{shop}.open"),
    "eavesdrop on all events": bind("em.inbox.{evil}.f", "em.events", "#"),
    "default, inbox": publish("", "em.inbox.{shop}.open"),
    "replies": publish("em.replies", "00"),
    "leases": publish("em.own.{shop}", "em.timers.{shop}"),
    "declare an inbox": declare("em.inbox.{shop}.new"),
}


@pytest.mark.parametrize("attack", GATEWAY_ATTACKS.values(), ids=GATEWAY_ATTACKS)
async def test_rabbitmq_refuses_a_gateway(mesh, attack):
    async with mesh.channel(mesh.gateway) as channel:
        with pytest.raises(ChannelAccessRefused):
            await attack(channel, {"evil": mesh.evil, "shop": mesh.shop})


@pytest.mark.parametrize("target", ["em.to.inbox.{shop}.open", "em.event.order.placed"])
async def test_rabbitmq_refuses_another_sender(mesh, target):
    names = {"evil": mesh.evil, "shop": mesh.shop}
    async with mesh.channel(mesh.evil) as channel:
        with pytest.raises(ChannelPreconditionFailed, match="user_id"):
            await publish(target, user_id="{shop}")(channel, names)
