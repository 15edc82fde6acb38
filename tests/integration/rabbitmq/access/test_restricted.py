"""What restricted users may do works, and tricks within it have no effect."""

import asyncio
import time

import pytest
from pamqp import commands
from waiting import DEADLINE

from eventmesh.aio.clock import SystemClock
from eventmesh.leftovers import keep_records, keeper
from eventmesh.leftovers.record import load_record
from eventmesh.model.errors import AccessDenied, FunctionNotFound
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import (
    SERVICES,
    Binding,
    broadcast,
    dead_letters,
    inbox,
    lease_name,
    named,
    parse_destination,
    presence_queue,
    record_name,
    rpc_queue,
    slots_name,
    to_presence,
    to_queue,
    to_rpc,
    to_subscribers,
)
from eventmesh.presence import AnnouncedSources, Instance, announce

PRESENCE_QUEUE = presence_queue("1", "heard")


def message(body=b"1", **fields):
    now = time.time()
    return Message(body, new_id(), now, **{"deadline": time.monotonic() + DEADLINE, **fields})


class Seen:
    """The messages that a consumer got, which are acknowledged."""

    def __init__(self):
        self._queue = asyncio.Queue()

    def __call__(self, delivery):
        delivery.ack()
        self._queue.put_nowait(delivery.message)

    async def next(self):
        async with asyncio.timeout(DEADLINE):
            return await self._queue.get()


@pytest.fixture
async def shop(mesh):
    async with mesh.broker(mesh.shop) as broker:
        yield broker


@pytest.fixture
async def evil(mesh):
    async with mesh.broker(mesh.evil) as broker:
        yield broker


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_a_function_in_calls_gets_work(mesh, shop, evil, delay):
    seen, name = Seen(), f"{mesh.shop}.open"
    async with shop.consume(inbox(name), seen, prefetch=5):
        await evil.publish(to_queue(inbox(name), name), message(), delay=delay)
        got = await seen.next()
        assert (got.sender, got.trigger) == (mesh.evil, "invoke")


async def test_a_function_in_calls_answers(mesh, shop, evil):
    name = f"{mesh.shop}.open"
    queue = rpc_queue(name, 5)
    await shop.declare([queue])

    def answer(delivery):
        delivery.ack()
        shop.reply(delivery.message, message(delivery.message.body * 2))

    async with shop.consume(queue, answer, prefetch=5):
        replies = await asyncio.gather(
            *(evil.request(to_rpc(name), message(b"%d" % number)) for number in range(5))
        )
    assert [reply.body for reply in replies] == [b"00", b"11", b"22", b"33", b"44"]
    assert {reply.sender for reply in replies} == {mesh.shop}


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_a_function_not_in_calls_is_refused(mesh, evil, delay):
    name = f"{mesh.shop}.secret"
    with pytest.raises(AccessDenied, match=f"user '{mesh.evil}' of RabbitMQ may not publish"):
        await evil.publish(to_queue(inbox(name), name), message(), delay=delay)


async def test_a_function_that_does_not_run_is_not_found(mesh, evil):
    with pytest.raises(FunctionNotFound):
        await evil.request(to_rpc(f"{mesh.evil}.f"), message())


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_events_come_by_type_and_by_pattern(mesh, shop, evil, delay):
    exact, wild = Seen(), Seen()
    one, all_of = broadcast(f"{mesh.shop}.open", new_id()), broadcast(f"{mesh.shop}.open", new_id())
    await shop.declare([], [Binding(one, "payment.approved"), Binding(all_of, "payment.*")])
    async with shop.consume(one, exact, prefetch=5), shop.consume(all_of, wild, prefetch=5):
        route = to_subscribers("payment.approved")
        await shop.publish(route, message(type="payment.approved", trigger="event"), delay=delay)
        for seen in (exact, wild):
            got = await seen.next()
            assert (got.type, got.trigger) == ("payment.approved", "event")


async def test_an_event_has_the_type_of_its_exchange(mesh, shop, evil):
    seen, queue = Seen(), broadcast(f"{mesh.shop}.open", new_id())
    await shop.declare([], [Binding(queue, "order.placed")])
    async with shop.consume(queue, seen, prefetch=5):
        forged = message(type="payment.approved", trigger="event")
        await evil.publish(to_subscribers("order.placed"), forged)
        assert (await seen.next()).type == "order.placed"


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_keys_in_headers_reach_no_subscriber(mesh, shop, evil, header):
    exact, wild = Seen(), Seen()
    one, all_of = broadcast(f"{mesh.shop}.open", new_id()), broadcast(f"{mesh.shop}.open", new_id())
    await shop.declare([], [Binding(one, "payment.approved"), Binding(all_of, "payment.*")])
    async with shop.consume(one, exact, prefetch=5), shop.consume(all_of, wild, prefetch=5):
        async with mesh.channel(mesh.evil) as channel:
            await channel.basic_publish(
                b"forged",
                exchange="em.event.order.placed",
                routing_key="order.placed",
                properties=commands.Basic.Properties(
                    headers={header: ["payment.approved"]}, message_type="payment.approved"
                ),
            )
        await shop.publish(
            to_subscribers("payment.approved"), message(b"true", type="payment.approved")
        )
        # In the order in which they were published: the forged one came to neither.
        assert [(await exact.next()).body, (await wild.next()).body] == [b"true", b"true"]


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_keys_in_headers_reach_no_queue(mesh, shop, header):
    secret, opened = inbox(f"{mesh.shop}.secret"), inbox(f"{mesh.shop}.open")
    await shop.purge(opened)  # The events of other tests.
    async with mesh.channel(mesh.evil) as channel:
        await channel.basic_publish(
            b"{}",
            exchange=f"em.to.inbox.{mesh.shop}.open",
            routing_key=secret.name,
            properties=commands.Basic.Properties(headers={header: [secret.name, "money"]}),
        )
    while (delivery := await shop.get(opened)) is None:
        pass
    delivery.ack()
    assert await shop.get(secret) is None
    assert await shop.get(named("money")) is None


async def test_a_call_is_no_event(mesh, shop, evil):
    seen, queue = Seen(), inbox(f"{mesh.shop}.open")
    await shop.purge(queue)
    async with shop.consume(queue, seen, prefetch=5):
        forged = message(type="payment.approved", trigger="event")
        await evil.publish(to_queue(queue), forged)
        got = await seen.next()
        assert (got.type, got.trigger) == ("", "invoke")
        # A retry by the service itself, and a redrive by the gateway, stay what they were.
        await shop.publish(to_queue(queue), forged)
        assert (await seen.next()).trigger == "event"
        async with mesh.broker(mesh.gateway) as gateway:
            await gateway.publish(to_queue(queue), forged)
            assert (await seen.next()).trigger == "event"


async def test_delays_end_where_the_service_may_send(mesh, shop, evil):
    seen, queue = Seen(), inbox(f"{mesh.shop}.open")
    route = to_queue(queue)
    await evil.publish(route, message(), delay=0.1)
    async with shop.consume(queue, seen, prefetch=5):
        await seen.next()
        digits = ".".join("0" * 27 + "1")
        async with mesh.channel(mesh.evil) as channel:
            await channel.basic_publish(
                b"{}",
                exchange=f"em.delay.{mesh.evil}.0",
                routing_key=f"{digits}.q.em.inbox.{mesh.shop}.open",
                properties=commands.Basic.Properties(
                    headers={
                        "CC": [
                            f"{digits}.q.em.inbox.{mesh.shop}.secret",
                            f"{digits}.e.payment.approved",
                        ]
                    }
                ),
            )
        await seen.next()
    assert await shop.get(inbox(f"{mesh.shop}.secret")) is None


async def test_what_a_function_cannot_take_delays_nothing_else(mesh, shop, evil):
    """RabbitMQ stops forwarding from a queue as soon as 32 of its messages reach no queue."""
    late, mine, seen, count = inbox(f"{mesh.shop}.late"), inbox(f"{mesh.evil}.f"), Seen(), 40
    await evil.purge(mine)
    for number in range(count):
        await evil.publish(to_queue(late), message(b"%d" % number), delay=0.1)
    async with evil.consume(mine, seen, prefetch=5):
        for _ in range(3):
            await evil.publish(to_queue(mine), message(b"own"), delay=0.1)
            assert (await seen.next()).body == b"own"
    async with shop.consume(late, seen, prefetch=5):
        assert {int((await seen.next()).body) for _ in range(count)} == set(range(count))


async def test_a_delay_for_a_function_in_nobodys_code_is_refused(mesh, evil):
    never = inbox(f"{mesh.shop}.never")
    with pytest.raises(FunctionNotFound):
        await evil.publish(to_queue(never), message(), delay=0.1)


async def test_its_own_inbox_gets_what_was_delayed_before_it_was_made_again(mesh, evil, node):
    queue = inbox(f"{mesh.evil}.f")
    async with mesh.channel(mesh.evil) as channel:
        await channel.queue_delete(queue.name)
    await evil.declare([queue])
    rows = await node.table("list_bindings", "source_name", "destination_name", vhost=mesh.vhost)
    due = {"source_name": f"em.delay.{mesh.evil}.due", "destination_name": queue.name}
    assert rows.count(due) == 1


async def test_a_gateway_sees_how_long_queues_are(mesh, shop):
    await shop.declare([named("money"), inbox(f"{mesh.shop}.secret")])
    async with mesh.broker(mesh.gateway) as gateway:
        assert await gateway.depth(inbox(f"{mesh.shop}.secret")) == 0
        assert await gateway.depth(dead_letters(f"{mesh.shop}.secret")) == 0


async def test_a_reply_address_is_not_that_of_another(mesh, evil, shop):
    name, addresses = f"{mesh.shop}.open", []
    queue = rpc_queue(name, 5)
    await shop.declare([queue])

    def answer(delivery):
        delivery.ack()
        addresses.append((delivery.message.reply_to, delivery.message.correlation_id))
        shop.reply(delivery.message, message())

    async with shop.consume(queue, answer, prefetch=5):
        await evil.request(to_rpc(name), message())
        await shop.request(to_rpc(name), message())
    (one, first), (other, second) = addresses
    assert one != other
    assert first != second
    assert all(len(bytes.fromhex(address)) == 16 for address in (one, other))


async def test_leases_slots_and_dead_letters_of_its_own(mesh, evil):
    name = f"{mesh.evil}.f"
    async with evil.lease(lease_name(mesh.evil)) as lease:
        await lease.save(b"state")
    async with evil.slots(slots_name(name), 1) as slots:
        async with asyncio.timeout(DEADLINE):
            await slots.acquire()
        slots.release()
    dead = dead_letters(name)
    await evil.publish(to_queue(dead), message())
    async with mesh.broker(mesh.gateway) as gateway:
        while (delivery := await gateway.get(dead)) is None:
            pass
        delivery.ack()
        assert await evil.purge(dead) == 0


async def test_a_record_of_its_own_and_the_list_of_services(mesh, evil, shop):
    async with evil.lease(record_name(mesh.evil)) as lease:
        await lease.save(b"state")
    for broker in (evil, shop):
        async with asyncio.timeout(DEADLINE), broker.lease(SERVICES) as lease:
            await lease.save(lease.state + b"1")
    with pytest.raises(AccessDenied):
        async with evil.lease(record_name(mesh.shop)):
            pass


async def test_it_unbinds_its_own_queues_alone(mesh, evil, shop):
    queue, root = inbox(f"{mesh.evil}.f"), to_subscribers("stock.low")
    for pattern in ("stock.*", "stock.low"):
        await evil.declare([queue], [Binding(queue, pattern)])
        await evil.unbind([Binding(queue, pattern)])
    await shop.publish(root, message(trigger="event", type="stock.low"))
    assert await evil.depth(queue) == 0
    with pytest.raises(AccessDenied):
        await evil.unbind([Binding(inbox(f"{mesh.shop}.open"), "payment.*")])
    with pytest.raises(AccessDenied):
        await evil.delete(inbox(f"{mesh.shop}.secret"))


async def test_what_a_newer_version_does_not_declare_is_unbound(mesh, evil, shop, monkeypatch):
    monkeypatch.setattr(keeper, "POLL_SECONDS", 0.3)
    name, clock = f"{mesh.evil}.f", SystemClock()

    def process(*patterns):
        sources = {name: AnnouncedSources(patterns)}
        return Instance(new_id(), "host", 7, clock.now(), {mesh.evil: ""}, sources=sources)

    old, new = process("stock.*", "stock.low"), process("stock.*")
    queue = inbox(name)
    await evil.declare([queue], [Binding(queue, "stock.low"), Binding(queue, "stock.*")])
    async with announce(evil, clock, lambda: old), keep_records(evil, clock, old, 0.1):
        async with asyncio.timeout(DEADLINE):
            while "stock.low" not in await recorded(evil, mesh.evil):
                # Who writes the record needs the lease as well.
                await asyncio.sleep(0.05)
    async with announce(evil, clock, lambda: new), keep_records(evil, clock, new, 0.1):
        async with asyncio.timeout(DEADLINE):
            while "stock.low" in await recorded(evil, mesh.evil):
                await asyncio.sleep(0.05)
    await evil.unbind([Binding(queue, "stock.*")])
    await shop.publish(to_subscribers("stock.low"), message(trigger="event", type="stock.low"))
    assert await evil.get(queue) is None


async def recorded(broker, service):
    """The patterns in the service's record."""
    async with broker.lease(record_name(service)) as lease:
        functions = load_record(service, lease.state).functions
    return {pattern for known in functions.values() for pattern in known.patterns}


async def test_processes_hear_of_each_other(mesh, shop, evil):
    seen = Seen()
    await shop.declare([PRESENCE_QUEUE], [Binding(PRESENCE_QUEUE, "instance", "em.presence")])
    async with shop.consume(PRESENCE_QUEUE, seen, prefetch=5):
        await evil.publish(to_presence("instance"), message(b"here"))
        got = await seen.next()
        assert (got.body, got.sender) == (b"here", mesh.evil)


async def test_a_queue_in_code(mesh, evil):
    seen = Seen()
    async with evil.consume(named("evil.q"), seen, prefetch=5):
        await evil.publish(parse_destination("queue:evil.q"), message(b"own"))
        assert (await seen.next()).body == b"own"
