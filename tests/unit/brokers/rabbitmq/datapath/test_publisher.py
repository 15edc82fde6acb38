"""Publishing: each message has one outcome in bounded time, and so many are under way."""

import pytest
from fake_rabbitmq import Published, fake_rabbit
from pamqp import commands
from publishing import ROUTE, TIMEOUT, WINDOW, Shop

from eventmesh.brokers.rabbitmq.datapath.publisher import PUBLISH_SECONDS, encode_route
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    PayloadInvalid,
    PayloadTooLarge,
)
from eventmesh.model.message import MAX_BODY
from eventmesh.model.topology import Route


@pytest.fixture
async def shop(rabbit, clock, tasks, keeping_open, soon):
    shop = Shop(rabbit.address, clock, tasks)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        yield shop


@pytest.fixture
async def session(rabbit, shop):
    return await rabbit.session()


async def test_it_returns_once_the_broker_holds_the_message(shop, session, message, soon):
    sent = message(b"[1]", headers={"a": "b"})
    send = shop.send(sent)
    published = await session.next(Published)
    assert (published.body, published.properties.message_id) == (b"[1]", sent.id)
    assert published.properties.delivery_mode == 2
    assert (published.method.routing_key, published.method.mandatory) == (ROUTE.key, True)
    assert not send.done()
    session.confirm(1, 1)
    assert await soon(send) is None


async def test_what_events_go_through_is_made_with_each_channel(shop, session, message, soon):
    for tag in (1, 2):
        await session.next(commands.Channel.Open)
        declared = [await session.next(commands.Exchange.Declare) for _ in range(2)]
        assert [(one.exchange, one.exchange_type, one.durable) for one in declared] == [
            ("em.events", "topic", True),
            ("em.presence", "topic", True),
        ]
        send = shop.send(message())
        await session.next(Published)
        session.confirm(1, tag)
        await soon(send)
        session.close_channel(1)
        await session.next(commands.Channel.CloseOk)
        shop.send(message())


async def test_who_may_not_make_what_events_go_through_publishes_all_the_same(
    rabbit, clock, tasks, keeping_open, message, soon
):
    def refusal(_):
        return commands.Channel.Close(403, "ACCESS_REFUSED - access to exchange", 40, 10)

    rabbit.answers[commands.Exchange.Declare] = refusal
    shop = Shop(rabbit.address, clock, tasks)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        session = await rabbit.session()
        send = shop.send(message(), Route("em.events", "order.placed", mandatory=False))
        await session.next(Published)
        session.confirm(1, 1)
        assert await soon(send) is None


async def test_an_event_need_not_reach_anybody(shop, session, message, soon):
    send = shop.send(message(), Route("em.events", "order.placed", mandatory=False))
    published = await session.next(Published)
    assert (published.method.exchange, published.method.mandatory) == ("em.events", False)
    session.confirm(1, 1)
    assert await soon(send) is None


async def test_a_message_that_reaches_no_queue(shop, session, message, soon):
    send = shop.send(message())
    session.return_message(1, await session.next(Published))
    session.confirm(1, 1)
    error = await soon(send)
    assert isinstance(error, FunctionNotFound)
    assert error.name == "shop.place"


async def test_what_amqp_cannot_carry_is_refused_at_once(shop, session, message):
    publish = shop.publisher.publish
    with pytest.raises(PayloadTooLarge, match="16,777,217 bytes"):
        await publish(ROUTE, message(bytes(MAX_BODY + 1)))
    with pytest.raises(PayloadInvalid, match="short string has 255 at most"):
        await publish(ROUTE, message(headers={"n" * 300: ""}))
    with pytest.raises(PayloadInvalid, match="put long values into the body"):
        await publish(ROUTE, message(headers={"n": "v" * 200_000}))
    assert session.count(commands.Basic.Publish) == 0


async def test_so_many_are_under_way_and_the_others_wait_in_line(shop, session, message, soon):
    messages = [message() for _ in range(WINDOW * 2)]
    sends = [shop.send(one) for one in messages]
    seen = [(await session.next(Published)).properties.message_id for _ in range(WINDOW)]
    for tag in range(1, WINDOW + 1):
        session.confirm(1, tag)
        seen.append((await session.next(Published)).properties.message_id)
    session.confirm(1, 2 * WINDOW, multiple=True)
    assert [await soon(send) for send in sends] == [None] * WINDOW * 2
    assert seen == [one.id for one in messages]


async def test_the_window_has_room_again_after_a_confirm(shop, session, message, clock, soon):
    """Not when the sender stops waiting: a broker that confirms nothing would gather messages."""
    gone, late = shop.send(message()), shop.send(message())
    kept = shop.send(message())
    for _ in range(WINDOW):
        await session.next(Published)
    gone.cancel()
    await clock.advance(TIMEOUT)
    assert "it may or may not be stored" in str(await soon(late))
    assert "it may or may not be stored" in str(await soon(kept))
    waiting = shop.send(message())
    await clock.advance(TIMEOUT / 2)
    assert not waiting.done()
    session.confirm(1, 1)
    published = await session.next(Published)
    session.confirm(1, 4)
    assert await soon(waiting) is None
    assert published.properties.message_id == "m4"


async def test_who_stops_waiting_for_a_turn_takes_none_with_him(shop, session, message, soon):
    sends = [shop.send(message()) for _ in range(WINDOW + 3)]
    for _ in range(WINDOW):
        await session.next(Published)
    first, second, third = sends[WINDOW:]
    first.cancel()
    session.confirm(1, WINDOW, multiple=True)
    for _ in range(2):
        await session.next(Published)
    session.confirm(1, WINDOW + 2, multiple=True)
    assert [await soon(send) for send in (second, third)] == [None, None]
    assert [await soon(send) for send in sends[:WINDOW]] == [None] * WINDOW


async def test_a_turn_that_was_just_given_to_one_who_leaves_goes_on(shop, message, session, soon):
    sends = [shop.send(message()) for _ in range(WINDOW + 2)]
    for _ in range(WINDOW):
        await session.next(Published)
    leaving, last = sends[WINDOW:]
    # In one pass of the loop: the turn is given to the first who waits, who is then cancelled.
    target = encode_route(ROUTE.exchange, ROUTE.key, mandatory=ROUTE.mandatory)
    shop.publisher._release(target)  # noqa: SLF001 a confirm cannot be timed as finely
    leaving.cancel()
    assert (await session.next(Published)).properties.message_id == "m5"
    session.confirm(1, 4, multiple=True)
    assert await soon(last) is None


async def test_all_turns_are_there_again_after_any_end(shop, session, message, clock, soon):
    for _ in range(WINDOW):
        shop.send(message()).cancel()
    sends = [shop.send(message()) for _ in range(WINDOW)]
    for send in sends:
        await session.next(Published)
        send.cancel()
    session.close_channel(1, 404, "NOT_FOUND")
    await session.next(commands.Channel.CloseOk)
    again = [shop.send(message()) for _ in range(WINDOW)]
    for _ in again:
        await session.next(Published)
    session.confirm(1, WINDOW, multiple=True)
    assert [await soon(send) for send in again] == [None] * WINDOW


async def test_a_blocked_broker_is_said_at_once(shop, session, message, soon, until):
    session.send(0, commands.Connection.Blocked("low on memory"))
    await until(lambda: shop.link.current.blocked)
    error = await soon(shop.send(message()))
    assert isinstance(error, BrokerUnavailable)
    assert "low on memory" in str(error)
    session.send(0, commands.Connection.Unblocked())
    session.send(1, commands.Channel.Flow(False))
    await session.next(commands.Channel.FlowOk)
    assert "flow" in str(await soon(shop.send(message())))
    session.send(1, commands.Channel.Flow(True))
    await session.next(commands.Channel.FlowOk)
    send = shop.send(message())
    await session.next(Published)
    session.confirm(1, 1)
    assert await soon(send) is None


async def test_a_message_that_is_not_confirmed_in_time(shop, session, message, clock, soon):
    send = shop.send(message())
    await session.next(Published)
    await clock.advance(TIMEOUT)
    error = await soon(send)
    assert isinstance(error, BrokerUnavailable)
    assert str(error) == (
        "shop.place: RabbitMQ did not confirm the message within 10 s; it may or may not be stored"
    )


async def test_who_does_not_give_up_waits_for_the_confirm_as_long_as_the_channel_lives(
    shop, session, message, clock, soon
):
    sends = [shop.send(message(), give_up=False) for _ in range(2)]
    for _ in sends:
        await session.next(Published)
    await clock.advance(2 * TIMEOUT)
    assert not any(send.done() for send in sends)
    session.confirm(1, 1)
    assert await soon(sends[0]) is None
    session.cut()
    assert "may or may not be stored" in str(await soon(sends[1]))


async def test_a_connection_lost_before_the_confirm(shop, session, message, soon):
    send = shop.send(message())
    await session.next(Published)
    session.cut()
    error = await soon(send)
    assert isinstance(error, BrokerUnavailable)
    assert "the connection was lost; the message may or may not be stored" in str(error)


async def test_without_a_connection_it_waits_for_one(rabbit, shop, session, message, soon):
    shop.link.current.fail("a test says so")
    send = shop.send(message())
    other = await rabbit.session()
    await other.next(Published)
    other.confirm(1, 1)
    assert await soon(send) is None


async def test_without_a_connection_for_too_long(clock, tasks, message, soon, keeping_open):
    async with fake_rabbit() as gone:
        pass
    shop = Shop(gone.address, clock, tasks)
    async with keeping_open(shop.link):
        sends = [shop.send(message()) for _ in range(WINDOW + 1)]
        await clock.advance(TIMEOUT)
        errors = [str(await soon(send)) for send in sends]
    assert all("the message was not sent: there is no connection" in text for text in errors)


async def test_who_does_not_want_to_wait_is_told_at_once(
    rabbit, clock, tasks, message, soon, keeping_open
):
    shop = Shop(rabbit.address, clock, tasks, timeout=0)
    error = await soon(shop.send(message()))
    assert isinstance(error, BrokerUnavailable)
    assert "there is no connection to RabbitMQ: it was not opened yet" in str(error)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        session = await rabbit.session()
        send, late = shop.send(message()), shop.send(message())
        for _ in range(2):
            await session.next(Published)
        session.confirm(1, 1)
        assert await soon(send) is None
        await clock.advance(PUBLISH_SECONDS)
        assert "did not confirm" in str(await soon(late))


async def test_a_slow_broker_holds_publishers_up(shop, session, message, clock, soon):
    shop.link.current.pause_writing()
    first, second = shop.send(message()), shop.send(message())
    await clock.advance(TIMEOUT / 2)
    assert not first.done()
    shop.link.current.resume_writing()
    for _ in range(2):
        await session.next(Published)
    session.confirm(1, 2, multiple=True)
    assert [await soon(first), await soon(second)] == [None, None]
    shop.link.current.pause_writing()
    third = shop.send(message())
    await clock.advance(TIMEOUT)
    assert "the message was not sent within 10 s: RabbitMQ is slow" in str(await soon(third))


async def test_a_channel_closed_alone_is_opened_again_once(shop, session, message, soon):
    send = shop.send(message(), Route("gone", "key"))
    await session.next(Published)
    session.close_channel(1, 404, "NOT_FOUND - no exchange 'gone' in vhost '/'")
    error = await soon(send)
    assert isinstance(error, BrokerUnavailable)
    assert "404 NOT_FOUND - no exchange 'gone'" in str(error)
    opened = session.count(commands.Channel.Open)
    sends = [shop.send(message()) for _ in range(WINDOW * 3)]
    for tag in range(1, WINDOW * 3 + 1):
        number, _ = await session.next(Published, channel=True)
        session.confirm(number, tag)
    assert [await soon(send) for send in sends] == [None] * WINDOW * 3
    assert session.count(commands.Channel.Open) == opened + 1
    assert len(session.methods) == 3 + 4 + 1 + 4  # Logged in; opened; closed; opened again.


async def test_a_connection_lost_while_its_channel_is_opened_again(
    rabbit, shop, session, message, soon
):
    session.close_channel(1)
    await session.next(commands.Channel.CloseOk)
    del session.answers[commands.Channel.Open]
    send = shop.send(message())
    await session.next(commands.Channel.Open)
    session.cut()
    other = await rabbit.session()
    await other.next(Published)
    other.confirm(1, 1)
    assert await soon(send) is None


async def test_publishing_on_a_link_that_is_closed(
    rabbit, clock, tasks, message, keeping_open, soon
):
    shop = Shop(rabbit.address, clock, tasks)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        waiting = shop.send(message())
        await (await rabbit.session()).next(Published)
    assert "may or may not be stored" in str(await soon(waiting))
    assert "the connection to RabbitMQ is closed" in str(await soon(shop.send(message())))
