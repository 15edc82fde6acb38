"""What is the embedded broker's alone: sharing, order, fairness, and knowing when it is idle."""

import asyncio

import pytest

from eventmesh.brokers.memory import MemoryBroker, QueueStatistics
from eventmesh.model.errors import BrokerUnavailable, DeclarationError, FunctionNotFound, Throttled
from eventmesh.model.topology import (
    Binding,
    Queue,
    broadcast,
    inbox,
    named,
    rpc_queue,
    to_function,
    to_queue,
    to_rpc,
    to_subscribers,
)

PLACE = inbox("shop.place")
TO_PLACE = to_function("shop.place")


async def test_entering_twice_is_an_error_that_says_what_to_do():
    async with MemoryBroker() as broker:
        with pytest.raises(RuntimeError, match="make a new one"):
            await broker.__aenter__()
        assert broker.ready
    with pytest.raises(RuntimeError, match="make a new one"):
        await broker.__aenter__()


async def test_before_it_is_entered_it_says_so(message):
    broker = MemoryBroker()
    assert not broker.ready
    with pytest.raises(BrokerUnavailable, match="async with"):
        await broker.publish(TO_PLACE, message())


async def test_a_misspelt_name_gets_the_one_that_was_meant(broker, message):
    await broker.declare(
        [PLACE, inbox("shop.cancel"), rpc_queue("shop.place", 10), named("invoices")]
    )
    with pytest.raises(FunctionNotFound, match=r"did you mean 'shop\.place'"):
        await broker.publish(to_function("shop.plcae"), message())
    with pytest.raises(FunctionNotFound, match=r"did you mean 'shop\.place'"):
        await broker.request(to_rpc("shop.plase"), message(wait=1))
    with pytest.raises(FunctionNotFound, match="did you mean 'invoices'"):
        await broker.publish(to_queue(named("invoice")), message())
    with pytest.raises(FunctionNotFound, match="check the name"):
        await broker.publish(to_function("billing.charge"), message())


async def test_one_name_cannot_be_two_kinds_of_queue(broker):
    await broker.declare([PLACE])
    with pytest.raises(DeclarationError, match="another name"):
        await broker.declare([named(PLACE.name)])


async def test_a_queue_of_another_system_is_taken_as_it_is(broker, message):
    await broker.declare([Queue("invoices", "named", max_length=1)])
    await broker.declare([named("invoices", declare=False), named("orders", declare=False)])
    await broker.publish(to_queue(named("orders")), message())
    await broker.publish(to_queue(named("invoices")), message())
    with pytest.raises(Throttled):
        await broker.publish(to_queue(named("invoices")), message())


async def test_the_last_length_declared_counts(broker, message):
    await broker.declare([rpc_queue("shop.place", 1)])
    await broker.declare([rpc_queue("shop.place", 2)])
    for _ in range(2):
        await broker.publish(to_rpc("shop.place"), message())
    with pytest.raises(Throttled):
        await broker.publish(to_rpc("shop.place"), message())


async def test_an_event_is_stored_for_all_subscribers_or_for_none(broker, message):
    full = Queue("full", "named", max_length=0)
    await broker.declare([PLACE, full], [Binding(PLACE, "a.*"), Binding(full, "a.b")])
    with pytest.raises(Throttled, match="full"):
        await broker.publish(to_subscribers("a.b"), message())
    assert await broker.depth(PLACE) == 0


async def test_a_broadcast_queue_stays_until_its_last_consumer_leaves(broker, message):
    queue = broadcast("shop.place", "i1")
    one, two = [], []
    await broker.declare([queue], [Binding(queue, "a.*")])
    async with broker.consume(queue, one.append, prefetch=10):
        async with broker.consume(queue, two.append, prefetch=10):
            pass
        await broker.publish(to_subscribers("a.b"), message())
    assert len(one) == 1
    assert queue.name not in broker.statistics()


@pytest.mark.parametrize("prefetch", [0, -1])
async def test_a_prefetch_that_takes_nothing_is_refused(broker, prefetch):
    with pytest.raises(ValueError, match="prefetch"):
        async with broker.consume(PLACE, print, prefetch=prefetch):
            pytest.fail("it was entered")


async def test_a_sender_in_a_loop_lets_others_run(broker, message):
    await broker.declare([PLACE, rpc_queue("shop.place", 0)])
    others_ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(others_ran.set)
    sent = 0
    while not others_ran.is_set():
        await broker.publish(TO_PLACE, message())
        sent += 1
    assert sent < 1000


async def test_a_sender_that_is_refused_in_a_loop_lets_others_run(broker, message):
    await broker.declare([rpc_queue("shop.place", 0)])
    others_ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(others_ran.set)
    refused = 0
    while not others_ran.is_set():
        with pytest.raises(Throttled):
            await broker.request(to_rpc("shop.place"), message(wait=1))
        refused += 1
    assert refused < 1000


async def test_statistics_say_what_is_where(broker, message):
    taken = []
    await broker.declare([PLACE, named("invoices")], [Binding(PLACE, "a.*")])
    async with broker.consume(PLACE, taken.append, prefetch=2):
        for _ in range(5):
            await broker.publish(TO_PLACE, message())
        await broker.publish(TO_PLACE, message(), delay=60)
        await broker.publish(to_subscribers("a.b"), message(), delay=60)
        await broker.publish(to_queue(named("invoices")), message())
        await broker.get(named("invoices"))
        assert broker.statistics() == {
            PLACE.name: QueueStatistics(ready=3, unacked=2, delayed=2, consumers=1),
            "invoices": QueueStatistics(ready=0, unacked=1, delayed=0, consumers=0),
        }


async def test_it_is_idle_when_nobody_has_anything_to_do(broker, message):
    taken = []
    await broker.declare([PLACE, named("unused")])
    await broker.publish(to_queue(named("unused")), message())
    await broker.publish(TO_PLACE, message(), delay=60)
    await broker.wait_idle()
    async with broker.consume(PLACE, taken.append, prefetch=1):
        await broker.publish(TO_PLACE, message())
        await broker.publish(TO_PLACE, message())
        assert not broker.idle
        taken.pop().ack()
        assert not broker.idle
        taken.pop().ack()
        assert broker.idle


async def test_waiting_for_idle_lasts_as_long_as_a_cascade(broker, message):
    """Each delivery causes the next message before it is acknowledged."""
    handled = []
    await broker.declare([PLACE])

    async def work(deliveries):
        while len(handled) < 10:
            delivery = await deliveries.get()
            await asyncio.sleep(0)
            handled.append(delivery)
            if len(handled) < 10:
                await broker.publish(TO_PLACE, message())
            delivery.ack()

    deliveries = asyncio.Queue()
    async with (
        asyncio.TaskGroup() as workers,
        broker.consume(PLACE, deliveries.put_nowait, prefetch=1),
    ):
        workers.create_task(work(deliveries))
        await broker.publish(TO_PLACE, message())
        async with asyncio.timeout(60):
            await broker.wait_idle()
        assert len(handled) == 10


async def test_it_is_not_idle_while_a_request_is_open(broker, message, clock):
    await broker.declare([rpc_queue("shop.place", 10)])
    async with asyncio.TaskGroup() as calls:
        call = calls.create_task(broker.request(to_rpc("shop.place"), message(wait=5)))
        idle = calls.create_task(broker.wait_idle())
        await clock.settle()
        assert not idle.done()
        call.cancel()


async def test_what_is_requeued_is_work_until_it_is_answered(broker, message, clock):
    taken = []
    await broker.declare([PLACE])
    async with asyncio.TaskGroup() as waits, broker.consume(PLACE, taken.append, prefetch=1):
        await broker.publish(TO_PLACE, message())
        taken.pop().requeue()
        idle = waits.create_task(broker.wait_idle())
        await clock.settle()
        assert not idle.done()
        taken.pop().ack()


async def test_handing_back_for_nobody_to_take_is_idle(broker, message, clock):
    await broker.declare([PLACE])
    await broker.publish(TO_PLACE, message())
    delivery = await broker.get(PLACE)
    async with asyncio.timeout(60), asyncio.TaskGroup() as waits:
        idle = waits.create_task(broker.wait_idle())
        await clock.settle()
        assert not idle.done()
        delivery.requeue()


async def test_handing_back_and_stopping_is_idle(broker, message, clock):
    taken = []
    await broker.declare([PLACE])
    await broker.publish(TO_PLACE, message())
    async with (
        broker.consume(PLACE, taken.append, prefetch=1) as subscription,
        asyncio.timeout(60),
        asyncio.TaskGroup() as waits,
    ):
        waits.create_task(broker.wait_idle())
        await clock.settle()
        taken[0].requeue()
        await subscription.stop()
    assert len(taken) == 1


async def test_closing_forgets_what_waits_and_delivers_nothing(message, clock):
    taken = []
    async with MemoryBroker(clock) as broker:
        await broker.declare([PLACE])
        for _ in range(3):
            await broker.publish(TO_PLACE, message())
        async with broker.consume(PLACE, taken.append, prefetch=1):
            await broker.__aexit__(None, None, None)
            assert broker.statistics()[PLACE.name].ready == 0
            taken[0].requeue()
            await clock.settle()
            assert len(taken) == 1


async def test_closing_ends_the_wait_for_idle(message, clock):
    async with asyncio.TaskGroup() as waits, MemoryBroker(clock) as broker:
        await broker.declare([PLACE])
        await broker.publish(TO_PLACE, message())
        await broker.get(PLACE)
        idle = waits.create_task(wait_in_vain(broker))
        await clock.settle()
        assert not idle.done()


async def wait_in_vain(broker):
    with pytest.raises(BrokerUnavailable):
        await broker.wait_idle()
