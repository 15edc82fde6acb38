"""Calls on a channel, its consumers, and how it ends."""

import asyncio
import gc

import pytest
from pamqp import commands

from eventmesh.brokers.rabbitmq.amqp import channel as channel_module
from eventmesh.model.errors import BrokerUnavailable

FLOW = commands.Channel.Flow(True)


def declare(queue):
    return commands.Queue.Declare(queue=queue, durable=True)


async def unavailable(call, match):
    with pytest.raises(BrokerUnavailable, match=match):
        await call


async def test_replies_come_in_the_order_of_the_calls(channel, session, soon):
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(channel.call(declare(f"q{number}"))) for number in range(20)]
    assert [call.result().queue for call in calls] == [f"q{number}" for number in range(20)]


async def test_a_call_that_is_cancelled_leaves_the_others_their_replies(channel, session, soon):
    del session.answers[commands.Queue.Declare]
    async with asyncio.TaskGroup() as tasks:
        first, second, third = (
            tasks.create_task(channel.call(declare(name))) for name in ("a", "b", "c")
        )
        for _ in range(3):
            await session.next(commands.Queue.Declare)
        second.cancel()
        for name in ("a", "b", "c"):
            session.send(1, commands.Queue.DeclareOk(name, 0, 0))
    assert (first.result().queue, third.result().queue) == ("a", "c")
    assert second.cancelled()
    assert (await channel.call(commands.Confirm.Select())).name == "Confirm.SelectOk"


async def test_a_cancelled_call_says_nothing_when_its_channel_ends(channel, session, soon, caplog):
    del session.answers[commands.Queue.Declare]
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(channel.call(declare("a")))
        await session.next(commands.Queue.Declare)
        call.cancel()
    session.close_channel(1)
    assert "404" in await soon(channel.closed)
    del call
    gc.collect()  # What nobody has looked at is reported now, at the latest.
    assert not caplog.records


async def test_a_call_that_is_not_answered_gives_the_connection_up(
    connection, channel, session, advance, soon
):
    del session.answers[commands.Queue.Declare]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(unavailable(channel.call(declare("a")), "did not answer Queue.Declare"))
        await session.next(commands.Queue.Declare)
        await advance(channel_module.CALL_SECONDS)
        assert "Queue.Declare" in await soon(connection.closed)
    await soon(session.ended.wait())


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (403, "ACCESS_REFUSED - access to queue 'a' refused"),
        (404, "NOT_FOUND - no queue 'a' in vhost '/'"),
        (406, "PRECONDITION_FAILED - inequivalent arg"),
    ],
)
async def test_a_refusal_closes_its_channel_alone(connection, channel, session, code, text):
    other = await connection.open_channel()
    del session.answers[commands.Queue.Declare]
    async with asyncio.TaskGroup() as tasks:
        calls = [
            tasks.create_task(unavailable(channel.call(declare("a")), f"{code} {text}"))
            for _ in range(3)
        ]
        await session.next(commands.Queue.Declare)
        session.close_channel(1, code, text)
    assert all(call.done() for call in calls)
    assert (await session.next(commands.Channel.CloseOk)).name == "Channel.CloseOk"
    assert not channel.is_open
    assert channel.closed.result() == f"RabbitMQ closed it: {code} {text}"
    await other.call(commands.Confirm.Select())
    assert not connection.closed.done()


async def test_the_number_of_a_closed_channel_is_used_again(connection, channel, session, soon):
    session.close_channel(1)
    await soon(channel.closed)
    assert (await connection.open_channel()).number == 1
    second = await connection.open_channel()
    await second.close()
    assert (await connection.open_channel()).number == second.number == 2


async def test_there_are_as_many_channels_as_were_agreed_on(connection, session):
    connection.tune(2, 4096, 60)
    first = await connection.open_channel()
    await connection.open_channel()
    with pytest.raises(BrokerUnavailable, match="all 2 channels"):
        await connection.open_channel()
    await first.close()
    assert (await connection.open_channel()).number == 1


async def test_a_channel_that_cannot_be_made_ready_is_closed_again(connection, session):
    del session.answers[commands.Confirm.Select]
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(connection.open_channel(commands.Confirm.Select()))
        await session.next(commands.Confirm.Select)
        opening.cancel()
    await session.next(commands.Channel.Close)
    assert (await connection.open_channel()).number in (1, 2)


async def test_closing_from_both_sides_at_once(connection, channel, session, soon):
    """Ours is answered behind the server's own close; until then, the number is not free."""
    session.answers[commands.Channel.Close] = lambda _: commands.Channel.Close(404, "GONE", 60, 40)
    await soon(channel.close())
    assert channel.closed.result() == "RabbitMQ closed it: 404 GONE"
    await session.next(commands.Channel.CloseOk)
    other = await connection.open_channel()
    assert other.number == 2
    session.send(1, commands.Channel.CloseOk())
    await other.call(declare("a"))
    assert (await connection.open_channel()).number == 1


async def test_closing_twice_asks_once(channel, session, soon):
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(channel.close())
    await channel.close()
    assert session.count(commands.Channel.Close) == 1
    assert channel.closed.result() == "it was closed from here"


async def test_a_close_that_is_not_answered_gives_the_connection_up(
    connection, channel, session, advance, soon
):
    del session.answers[commands.Channel.Close]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(channel.close())
        await session.next(commands.Channel.Close)
        await advance(channel_module.CALL_SECONDS)
    assert "did not close a channel" in await soon(connection.closed)


async def test_nothing_goes_out_behind_a_close(connection, channel, session, soon):
    """The broker would end the whole connection: the channel is unknown to it by then."""
    channel.ack(1)
    channel.abandon()
    channel.ack(2)
    channel.requeue(3)
    for call in (channel.call(FLOW), channel.consume("q", 1, lambda *_, **__: None)):
        with pytest.raises(BrokerUnavailable, match="it is being closed"):
            await call
    for publish in (channel.publish_unconfirmed, lambda *what: channel.publish(*what, "id")):
        with pytest.raises(BrokerUnavailable, match="it is being closed"):
            publish(b"", b"\0\0", b"")
    await soon(channel.closed)
    channel.ack(4)
    with pytest.raises(BrokerUnavailable, match="it was closed from here"):
        await channel.call(FLOW)
    kinds = [type(method) for method in session.methods]
    assert kinds[-2:] == [commands.Basic.Ack, commands.Channel.Close]


async def test_a_wrong_answer_gives_the_connection_up(connection, channel, session, soon):
    session.answers[commands.Queue.Declare] = lambda _: commands.Basic.QosOk()
    await unavailable(channel.call(declare("a")), "Basic.QosOk answers nothing that was asked")
    assert "Basic.QosOk" in connection.closed.result()


async def test_a_call_that_cannot_be_written_is_no_call(channel, session):
    with pytest.raises(ValueError, match="Max length"):
        await channel.call(declare("q" * 300))
    assert (await channel.call(declare("a"))).queue == "a"


async def test_a_prefetch_is_set_for_its_consumer_alone(channel, session):
    for prefetch in (10, 100_000):
        await channel.consume("q", prefetch, lambda *_, **__: None)
        qos = await session.next(commands.Basic.Qos)
        assert (qos.prefetch_count, qos.global_) == (min(prefetch, 65_535), False)


async def test_consumers_of_one_channel_have_tags_of_their_own(channel, session, soon):
    taken = asyncio.Queue()

    def consumer(name):
        return lambda tag, *_, **__: taken.put_nowait((name, tag))

    tags = [await channel.consume("q", 1, consumer(name)) for name in "ab"]
    await channel.cancel(tags[0])
    tags.append(await channel.consume("q", 1, consumer("c")))
    assert len(set(tags)) == 3
    session.deliver(1, tags[1], 1)
    session.deliver(1, tags[2], 2)
    assert [await soon(taken.get()) for _ in range(2)] == [("b", 1), ("c", 2)]


async def test_a_consumer_that_the_server_cancels_gets_no_more(channel, session, soon):
    cancelled, taken = asyncio.Queue(), []
    channel.on_cancel = cancelled.put_nowait
    tag = await channel.consume("q", 1, lambda *what, **_: taken.append(what))
    session.send(1, commands.Basic.Cancel(tag, True))
    session.deliver(1, tag, 1)
    assert await soon(cancelled.get()) == tag
    assert (await session.next(commands.Basic.Nack)).delivery_tag == 1
    assert not taken


async def test_the_flow_of_a_channel_can_be_stopped(channel, session, soon):
    for active in (False, True):
        session.send(1, commands.Channel.Flow(active))
        assert (await session.next(commands.Channel.FlowOk)).active is active
        assert channel.paused is not active


async def test_the_end_of_a_connection_ends_its_channels(connection, channel, session, soon):
    del session.answers[commands.Queue.Declare]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(unavailable(channel.call(declare("a")), "the connection was lost"))
        await session.next(commands.Queue.Declare)
        session.cut()
    assert "lost" in await soon(channel.closed)
    await unavailable(connection.open_channel(), "the connection was lost")


async def test_an_error_is_a_new_one_each_time(channel, session, soon):
    """One that is raised again and again would grow by a traceback each time."""
    session.close_channel(1)
    await soon(channel.closed)
    errors = []
    for _ in range(2):
        with pytest.raises(BrokerUnavailable) as caught:
            await channel.call(FLOW)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
