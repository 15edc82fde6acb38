"""Taking back what was declared: bindings, and whole queues."""

import pytest

from eventmesh.model.errors import DeclarationError, FunctionNotFound, Throttled
from eventmesh.model.topology import (
    Binding,
    Queue,
    inbox,
    named,
    to_function,
    to_queue,
    to_subscribers,
)


async def bodies(broker, queue):
    found = []
    while (delivery := await broker.get(queue)) is not None:
        delivery.ack()
        found.append(delivery.message.body)
    return found


@pytest.mark.parametrize("delay", [0.0, 0.1])
async def test_an_unbound_queue_gets_no_more_events_and_keeps_what_it_has(
    mesh, broker, other, function, delay
):
    queue, watching, root = inbox(function), inbox(f"{function}_2"), function.partition(".")[2]
    both = [Binding(queue, f"{root}.*"), Binding(queue, f"{root}.placed")]
    await broker.declare([queue], [*both, Binding(watching, f"{root}.#")])
    await broker.publish(to_subscribers(f"{root}.cancelled"), mesh.message(b"before"))

    await other.unbind(both[:1])
    for type in ("cancelled", "placed"):
        route = to_subscribers(f"{root}.{type}")
        await broker.publish(route, mesh.message(type.encode()), delay=delay)
    await mesh.elapse(delay)
    await mesh.depth_reaches(broker, watching, 3)
    await mesh.depth_reaches(broker, queue, 2)
    assert await bodies(broker, queue) == [b"before", b"placed"]


async def test_a_full_queue_that_is_unbound_refuses_no_events(mesh, broker, function):
    queue, root = Queue(inbox(function).name, "inbox", max_length=1), function.partition(".")[2]
    binding, route = Binding(queue, f"{root}.*"), to_subscribers(f"{root}.placed")
    await broker.declare([queue], [binding])

    async def fill():
        for _ in range(100):  # A quorum queue may take a few more.
            await broker.publish(route, mesh.message())

    with pytest.raises(Throttled):
        await fill()

    await broker.unbind([binding])
    await broker.publish(route, mesh.message())
    assert await broker.depth(queue) >= 1


async def test_what_is_kept_stays_also_if_it_is_the_same_binding(mesh, broker, function):
    queue, root = inbox(function), function.partition(".")[2]
    wider, same = Binding(queue, f"{root}.#.#"), Binding(queue, f"{root}.#")
    await broker.declare([queue], [wider, same])
    await broker.unbind([wider, same], keep=[same])
    await broker.publish(to_subscribers(f"{root}.placed"), mesh.message())
    await mesh.depth_reaches(broker, queue, 1)


async def test_what_is_not_bound_can_be_unbound(broker, function):
    queue = inbox(function)
    never = Binding(queue, f"{function}.never.*")
    await broker.unbind([never])
    await broker.declare([queue])
    await broker.unbind([never])


@pytest.mark.shared_account("a service's user may ask for no exchange that it has no right to")
async def test_what_is_bound_to_no_exchange_can_be_unbound(broker, function):
    queue = inbox(function)
    await broker.declare([queue])
    await broker.unbind([Binding(queue, f"{function}.never.*", f"em.x{function}")])


async def test_a_deleted_queue_is_gone_with_its_bindings(mesh, broker, other, function):
    queue, root = inbox(function), function.partition(".")[2]
    await broker.declare([queue], [Binding(queue, f"{root}.*")])
    for _ in range(3):
        await broker.publish(to_function(function), mesh.message())
    await mesh.depth_reaches(broker, queue, 3)

    assert await other.delete(queue) == 3
    assert await other.delete(queue) == 0
    with pytest.raises(FunctionNotFound):
        await broker.publish(to_function(function), mesh.message())
    await broker.declare([queue])
    await broker.publish(to_subscribers(f"{root}.placed"), mesh.message())
    assert await broker.depth(queue) == 0


async def test_a_queue_with_a_consumer_is_not_deleted(mesh, broker, other, function):
    queue, collected = named(f"q{function}"), mesh.collector()
    async with broker.consume(queue, collected, prefetch=1):
        with pytest.raises(DeclarationError, match="a consumer"):
            await other.delete(queue)
        await other.publish(to_queue(queue), mesh.message(b"1"))
        assert await collected.bodies(1) == [b"1"]
