"""Synchronous requests: replies, deadlines and the bounded line."""

import asyncio

import pytest

from eventmesh.model.errors import (
    FunctionNotFound,
    InvocationTimeout,
    PayloadTooLarge,
    Throttled,
)
from eventmesh.model.message import MAX_BODY
from eventmesh.model.topology import rpc_queue, to_rpc

WAIT = 60.0

LATE = (0.5, 4, 32)
"""Seconds that callers wait who are to be late, tried in turn: a busy machine needs the longer."""


async def test_the_reply_reaches_who_asked(mesh, broker, other, function):
    queue = rpc_queue(function, 10)

    def answer(delivery):
        other.reply(delivery.message, mesh.message(b"pong to " + delivery.message.body))
        delivery.ack()

    await other.declare([queue])
    async with other.consume(queue, answer, prefetch=1):
        reply = await mesh.soon(broker.request(to_rpc(function), mesh.request(b"ping")))
    assert reply.body == b"pong to ping"


async def test_a_reply_arrives_as_it_was_sent(mesh, broker, function):
    queue = rpc_queue(function, 10)
    sent = mesh.message(
        b"{}", content_type="application/x-quote", headers={"shelf": "b"}, type="error", attempt=2
    )

    def answer(delivery):
        broker.reply(delivery.message, sent)
        delivery.ack()

    await broker.declare([queue])
    async with broker.consume(queue, answer, prefetch=1):
        reply = await mesh.soon(broker.request(to_rpc(function), mesh.request()))
    assert (reply.body, reply.content_type, reply.headers, reply.type) == (
        sent.body,
        sent.content_type,
        sent.headers,
        sent.type,
    )


async def test_each_caller_gets_its_own_reply(mesh, broker, function):
    queue = rpc_queue(function, 50)
    received = mesh.collector()
    await broker.declare([queue])
    async with broker.consume(queue, received, prefetch=50), asyncio.TaskGroup() as calls:
        replies = [
            calls.create_task(broker.request(to_rpc(function), mesh.request(bytes([number]))))
            for number in range(50)
        ]
        for delivery in reversed(await received.take(50)):
            broker.reply(delivery.message, mesh.message(delivery.message.body))
            delivery.ack()
        bodies = [(await mesh.soon(reply)).body for reply in replies]
    assert bodies == [bytes([number]) for number in range(50)]


async def test_the_request_arrives_as_it_was_sent(mesh, broker, function):
    queue = rpc_queue(function, 10)
    received = mesh.collector()
    sent = mesh.request(b'{"sku": 1}', wait=WAIT)
    await broker.declare([queue])
    async with broker.consume(queue, received, prefetch=1), asyncio.TaskGroup() as calls:
        reply = calls.create_task(broker.request(to_rpc(function), sent))
        delivery = await received.next()
        broker.reply(delivery.message, mesh.message())
        delivery.ack()
        await mesh.soon(reply)
    arrived = delivery.message
    assert (arrived.body, arrived.id) == (sent.body, sent.id)
    # The time that was left travels, in whole milliseconds, and counts from its arrival.
    assert sent.deadline - 0.001 <= arrived.deadline <= mesh.clock.monotonic() + WAIT


async def test_an_unknown_function_is_not_waited_for(mesh, broker, function):
    with pytest.raises(FunctionNotFound, match=function):
        await mesh.soon(broker.request(to_rpc(function), mesh.request()))


async def test_the_deadline_ends_the_wait(mesh, broker, function):
    queue = rpc_queue(function, 10)
    received = mesh.collector()
    await broker.declare([queue])
    async with broker.consume(queue, received, prefetch=10), asyncio.TaskGroup() as calls:
        request, late, _ = await ask_and_leave(mesh, broker, function, received, calls)
        error, when = await mesh.soon(late)
    assert isinstance(error, InvocationTimeout)
    assert when >= request.deadline


async def ask_and_leave(mesh, broker, function, received, calls):
    """Ask, and stop waiting after the request was delivered; request, call and delivery."""
    for wait in LATE:
        request = mesh.request(b"late", wait=wait)
        late = calls.create_task(ended(broker.request(to_rpc(function), request), mesh.clock))
        coming = calls.create_task(delivery_of(request, received))
        await asyncio.wait((late, coming), return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            await mesh.elapse(wait)
            return request, late, coming.result()
        # It expired on its way.
        coming.cancel()
    raise AssertionError(f"no request was delivered within {LATE[-1]} s")


async def delivery_of(request, received):
    while (delivery := await received.next()).message.id != request.id:
        delivery.ack()
    return delivery


async def ended(request, clock):
    """The error that a request ends with, and when."""
    with pytest.raises(InvocationTimeout) as raised:
        await request
    return raised.value, clock.monotonic()


async def test_what_is_late_already_is_not_sent(mesh, broker, function):
    queue = rpc_queue(function, 10)
    await broker.declare([queue])
    with pytest.raises(InvocationTimeout):
        await mesh.soon(broker.request(to_rpc(function), mesh.request(wait=0)))
    assert await broker.depth(queue) == 0


async def test_a_request_without_a_deadline_is_refused(mesh, broker, function):
    await broker.declare([rpc_queue(function, 10)])
    with pytest.raises(ValueError, match="deadline"):
        await mesh.soon(broker.request(to_rpc(function), mesh.message()))


async def test_a_request_that_nobody_waits_for_is_not_delivered(mesh, broker, function):
    queue = rpc_queue(function, 10)
    received = mesh.collector()
    await broker.declare([queue])
    # Seen there, and gone again before anybody took it; on a busy machine it takes longer to look.
    for wait in LATE:
        async with asyncio.TaskGroup() as calls:
            request = mesh.request(b"late", wait=wait)
            late = calls.create_task(ended(broker.request(to_rpc(function), request), mesh.clock))
            while (depth := await broker.depth(queue)) == 0 and not late.done():
                await mesh.elapse(0)
            await mesh.elapse(wait)
            await mesh.soon(late)
        if depth:
            break
    assert depth == 1
    # Its time at the broker began a little later than that of its caller.
    await mesh.depth_reaches(broker, queue, 0)
    async with broker.consume(queue, received, prefetch=10), asyncio.TaskGroup() as calls:
        reply = calls.create_task(broker.request(to_rpc(function), mesh.request(b"in time")))
        delivery = await received.next()
        assert delivery.message.body == b"in time"
        broker.reply(delivery.message, mesh.message())
        delivery.ack()
        await mesh.soon(reply)


async def test_a_full_line_refuses_at_once(mesh, broker, function):
    queue = rpc_queue(function, 2)
    await broker.declare([queue])
    async with asyncio.TaskGroup() as calls:
        waiting = [
            calls.create_task(broker.request(to_rpc(function), mesh.request())) for _ in range(2)
        ]
        await mesh.depth_reaches(broker, queue, 2)
        with pytest.raises(Throttled) as raised:
            await mesh.soon(broker.request(to_rpc(function), mesh.request()))
        for one in waiting:
            one.cancel()
    assert raised.value.retry_after > 0


async def test_a_late_reply_does_nothing(mesh, broker, function):
    queue = rpc_queue(function, 10)
    received = mesh.collector()
    await broker.declare([queue])
    async with broker.consume(queue, received, prefetch=10), asyncio.TaskGroup() as calls:
        _, late, first = await ask_and_leave(mesh, broker, function, received, calls)
        await mesh.soon(late)
        reply = calls.create_task(broker.request(to_rpc(function), mesh.request(b"2")))
        second = await received.next()
        broker.reply(first.message, mesh.message(b"late"))
        broker.reply(second.message, mesh.message(b"in time"))
        first.ack()
        second.ack()
        assert (await mesh.soon(reply)).body == b"in time"


async def test_a_second_reply_does_nothing(mesh, broker, function):
    queue = rpc_queue(function, 10)
    received = mesh.collector()
    await broker.declare([queue])
    async with broker.consume(queue, received, prefetch=1), asyncio.TaskGroup() as calls:
        reply = calls.create_task(broker.request(to_rpc(function), mesh.request()))
        delivery = await received.next()
        broker.reply(delivery.message, mesh.message(b"first"))
        broker.reply(delivery.message, mesh.message(b"second"))
        delivery.ack()
        assert (await mesh.soon(reply)).body == b"first"


async def test_a_reply_to_what_is_no_request_does_nothing(mesh, broker):
    broker.reply(mesh.message(), mesh.message())


async def test_a_request_that_came_back_is_answered_by_the_next(mesh, broker, other, function):
    queue = rpc_queue(function, 10)
    received = mesh.collector()
    await broker.declare([queue])
    async with asyncio.TaskGroup() as calls:
        async with broker.consume(queue, received, prefetch=1):
            reply = calls.create_task(broker.request(to_rpc(function), mesh.request()))
            (await received.next()).requeue()
            await received.next()
        async with other.consume(queue, received, prefetch=1):
            delivery = await received.next()
            other.reply(delivery.message, mesh.message(b"done"))
            delivery.ack()
            assert (await mesh.soon(reply)).body == b"done"


async def test_a_request_and_a_reply_over_the_limit_are_refused(mesh, broker, function):
    queue = rpc_queue(function, 10)
    received = mesh.collector()
    await broker.declare([queue])
    async with (
        broker.consume(queue, received, prefetch=1),
        asyncio.TaskGroup() as calls,
    ):
        with pytest.raises(PayloadTooLarge):
            await broker.request(to_rpc(function), mesh.request(bytes(MAX_BODY + 1)))
        asked = calls.create_task(broker.request(to_rpc(function), mesh.request()))
        delivery = await received.next()
        with pytest.raises(PayloadTooLarge):
            broker.reply(delivery.message, mesh.message(bytes(MAX_BODY + 1)))
        broker.reply(delivery.message, mesh.message(b"too large"))
        delivery.ack()
        assert (await mesh.soon(asked)).body == b"too large"
