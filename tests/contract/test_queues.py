"""Looking into queues: get, depth, purge."""

from eventmesh.model.topology import dead_letters, to_queue


async def test_get_takes_one_at_a_time_in_order(mesh, broker, function):
    queue = dead_letters(function)
    await broker.declare([queue])
    for body in (b"1", b"2"):
        await broker.publish(to_queue(queue), mesh.message(body))
    first, second = await broker.get(queue), await broker.get(queue)
    assert (first.message.body, second.message.body) == (b"1", b"2")
    assert await broker.get(queue) is None


async def test_what_was_got_and_requeued_is_there_again(mesh, broker, function):
    queue = dead_letters(function)
    await broker.declare([queue])
    await broker.publish(to_queue(queue), mesh.message(b"1"))
    (await broker.get(queue)).requeue()
    await mesh.depth_reaches(broker, queue, 1)
    assert (await broker.get(queue)).message.body == b"1"


async def test_what_was_got_and_acknowledged_is_gone(mesh, broker, function):
    queue = dead_letters(function)
    await broker.declare([queue])
    await broker.publish(to_queue(queue), mesh.message())
    delivery = await broker.get(queue)
    delivery.ack()
    delivery.requeue()
    assert await broker.get(queue) is None
    assert await broker.depth(queue) == 0


async def test_depth_counts_what_waits(mesh, broker, function):
    queue = dead_letters(function)
    await broker.declare([queue])
    depths = [await broker.depth(queue)]
    for _ in range(3):
        await broker.publish(to_queue(queue), mesh.message())
        depths.append(await broker.depth(queue))
    assert depths == [0, 1, 2, 3]


async def test_what_somebody_has_taken_does_not_wait(mesh, broker, function):
    queue = dead_letters(function)
    received = mesh.collector()
    await broker.declare([queue])
    for _ in range(3):
        await broker.publish(to_queue(queue), mesh.message())
    async with broker.consume(queue, received, prefetch=2):
        await received.take(2)
        assert await broker.depth(queue) == 1


async def test_purge_drops_what_waits_and_says_how_much(mesh, broker, function):
    queue = dead_letters(function)
    await broker.declare([queue])
    for _ in range(3):
        await broker.publish(to_queue(queue), mesh.message())
    assert await broker.purge(queue) == 3
    assert await broker.depth(queue) == 0
    assert await broker.get(queue) is None


async def test_a_queue_that_is_not_there_is_empty(broker, function):
    queue = dead_letters(function)
    assert await broker.depth(queue) == 0
    assert await broker.purge(queue) == 0
    assert await broker.get(queue) is None


async def test_queues_are_listed_if_the_broker_can(broker, function):
    queue = dead_letters(function)
    await broker.declare([queue])
    names = await broker.list_queues()
    assert names is None or queue.name in names
