"""Deliveries: prefetch, answers, what comes back, and stopping."""

from eventmesh.model.topology import inbox, to_function


async def fill(broker, function, mesh, *bodies):
    await broker.declare([inbox(function)])
    for body in bodies:
        await broker.publish(to_function(function), mesh.message(body))


async def test_a_consumer_gets_what_waited_before_it_came(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1", b"2")
    async with broker.consume(inbox(function), received, prefetch=10):
        assert await received.bodies(2) == [b"1", b"2"]


async def test_what_is_not_prefetched_is_left_to_others(mesh, broker, other, function):
    one, two = mesh.collector(), mesh.collector()
    await fill(broker, function, mesh, b"1", b"2", b"3", b"4", b"5")
    async with broker.consume(inbox(function), one, prefetch=2):
        held = await one.take(2)
        async with other.consume(inbox(function), two, prefetch=10):
            assert await two.bodies(3) == [b"3", b"4", b"5"]
            for delivery in held:
                delivery.ack()
    assert await broker.depth(inbox(function)) == 0


async def test_no_more_than_prefetch_are_unanswered_at_any_time(mesh, broker, function):
    received = mesh.collector()
    unanswered, most = 0, 0

    def deliver(delivery):
        nonlocal unanswered, most
        unanswered += 1
        most = max(most, unanswered)
        received(delivery)

    await fill(broker, function, mesh, *(bytes([number]) for number in range(40)))
    async with broker.consume(inbox(function), deliver, prefetch=3):
        for _ in range(40):
            delivery = await received.next()
            unanswered -= 1
            delivery.ack()
    assert most == 3


async def test_what_is_acknowledged_is_gone(mesh, broker, other, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=1):
        await received.bodies(1)
    await fill(other, function, mesh, b"2")
    async with other.consume(inbox(function), received, prefetch=1):
        assert await received.bodies(1) == [b"2"]


async def test_a_consumer_may_answer_at_once(mesh, broker, function):
    received = mesh.collector()

    def deliver(delivery):
        delivery.ack()
        received(delivery)

    await fill(broker, function, mesh, b"1", b"2", b"3")
    async with broker.consume(inbox(function), deliver, prefetch=1):
        assert len(await received.take(3)) == 3


async def test_what_is_requeued_is_delivered_again(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=1):
        first = await received.next()
        first.requeue()
        again = await received.next()
        assert again.message == first.message
        again.ack()
    assert await broker.depth(inbox(function)) == 0


async def test_requeueing_what_was_acknowledged_does_nothing(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=1):
        delivery = await received.next()
        delivery.ack()
        delivery.requeue()
        await fill(broker, function, mesh, b"2")
        assert await received.bodies(1) == [b"2"]


async def test_acknowledging_what_was_requeued_does_nothing(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=1):
        first = await received.next()
        first.requeue()
        again = await received.next()
        first.ack()
    async with broker.consume(inbox(function), received, prefetch=1):
        lost = await received.next()
    assert lost.message == again.message


async def test_leaving_gives_back_what_is_unanswered(mesh, broker, other, function):
    lost, received = mesh.collector(), mesh.collector()
    await fill(broker, function, mesh, b"1", b"2", b"3", b"4")
    async with broker.consume(inbox(function), lost, prefetch=3):
        _, second, _ = await lost.take(3)
        second.ack()
    async with other.consume(inbox(function), received, prefetch=10):
        assert await received.bodies(3) == [b"1", b"3", b"4"]


async def test_what_a_lost_consumer_had_counts_as_redelivered(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=1):
        assert (await received.next()).redeliveries == 0
    async with broker.consume(inbox(function), received, prefetch=1):
        assert (await received.next()).redeliveries >= 1


async def test_a_delivery_that_comes_again_is_stale(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=1):
        lost = await received.next()
        assert not lost.stale
    assert lost.stale
    await mesh.depth_reaches(broker, inbox(function), 1)
    assert not (await broker.get(inbox(function))).stale


async def test_an_answer_after_leaving_does_nothing(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=1):
        late = await received.next()
    late.ack()
    async with broker.consume(inbox(function), received, prefetch=1):
        assert await received.bodies(1) == [b"1"]


async def test_nothing_is_delivered_after_stop(mesh, broker, function):
    received = mesh.collector()
    await fill(broker, function, mesh, b"1")
    async with broker.consume(inbox(function), received, prefetch=10) as subscription:
        held = await received.next()
        await subscription.stop()
        await fill(broker, function, mesh, b"2")
        assert await broker.depth(inbox(function)) == 1
        held.ack()
    assert len(received.times) == 1
    await mesh.depth_reaches(broker, inbox(function), 1)


async def test_stopping_twice_is_stopping(mesh, broker, function):
    await broker.declare([inbox(function)])
    async with broker.consume(inbox(function), mesh.collector(), prefetch=1) as subscription:
        await subscription.stop()
        await subscription.stop()


async def test_consumers_of_a_queue_take_in_turn(mesh, broker, other, function):
    one, two = mesh.collector(), mesh.collector()
    await broker.declare([inbox(function)])
    async with (
        broker.consume(inbox(function), one, prefetch=100),
        other.consume(inbox(function), two, prefetch=100),
    ):
        await fill(broker, function, mesh, *(bytes([number]) for number in range(20)))
        bodies = await one.bodies(10) + await two.bodies(10)
    assert sorted(bodies) == [bytes([number]) for number in range(20)]


async def test_a_slow_consumer_leaves_the_rest_to_a_quick_one(mesh, broker, other, function):
    slow, quick = mesh.collector(), mesh.collector()
    await broker.declare([inbox(function)])
    async with (
        broker.consume(inbox(function), slow, prefetch=1),
        other.consume(inbox(function), quick, prefetch=1),
    ):
        await fill(broker, function, mesh, *(bytes([number]) for number in range(10)))
        await slow.next()
        assert len(await quick.bodies(9)) == 9
