"""Requests and replies: one outcome in bounded time, and as soon as it is certain."""

import pytest
from fake_rabbitmq import Published, fake_rabbit
from pamqp import commands

from eventmesh.brokers.rabbitmq.datapath import refusals
from eventmesh.brokers.rabbitmq.datapath import rpc_client as requests_module
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.refusals import TRIAL_SECONDS
from eventmesh.brokers.rabbitmq.datapath.rpc_client import RpcClient
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    InvocationError,
    InvocationTimeout,
    PayloadInvalid,
    PayloadTooLarge,
    Throttled,
)
from eventmesh.model.message import MAX_BODY
from eventmesh.model.topology import to_rpc

ROUTE = to_rpc("shop.price")
REPLY_TO = "amq.rabbitmq.reply-to.g1h2"
CONSUMER = "c1.0"
TIMEOUT = 10.0


class Shop:
    """Requests over a link, as tasks whose result is the reply's body or the error."""

    def __init__(self, address, clock, tasks, *, timeout=TIMEOUT):
        self.link = ReconnectingConnection(address, "test", self._prepare)
        self.requests = RpcClient(self.link, clock, timeout, count=self._count)
        self.depth = 0
        self._tasks = tasks

    async def _prepare(self, connection):
        await self.requests.prepare(connection)

    async def _count(self, queue):
        assert queue == ROUTE.key
        return self.depth

    def ask(self, message):
        return self._tasks.create_task(self._ask(message))

    async def _ask(self, message):
        try:
            return (await self.requests.request(ROUTE, message)).body
        except InvocationError as error:
            return error


@pytest.fixture
async def shop(rabbit, clock, tasks, keeping_open, soon):
    shop = Shop(rabbit.address, clock, tasks)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        yield shop


@pytest.fixture
async def session(rabbit, shop):
    return await rabbit.session()


def answer(session, published, body=b"pong", *, tag=1):
    correlation_id = published.properties.correlation_id
    session.deliver(1, CONSUMER, tag, body, correlation_id=correlation_id)


async def test_the_reply_goes_to_who_asked(shop, session, message, soon):
    asked = [shop.ask(message(body, wait=5)) for body in (b"a", b"b", b"c")]
    published = [await session.next(Published) for _ in asked]
    assert len({one.properties.correlation_id for one in published}) == 3
    for one in (published[2], published[0], published[1]):
        answer(session, one, b"pong to " + one.body)
    assert [await soon(one) for one in asked] == [b"pong to a", b"pong to b", b"pong to c"]


async def test_a_request_says_where_the_reply_goes_and_how_long_it_is_wanted(
    shop, session, message, soon
):
    asked = shop.ask(message(wait=2.5))
    published = await session.next(Published)
    properties = published.properties
    assert properties.reply_to == "amq.rabbitmq.reply-to"
    assert (properties.expiration, properties.delivery_mode) == ("2500", 1)
    assert (published.method.routing_key, published.method.mandatory) == (ROUTE.key, True)
    answer(session, published)
    await soon(asked)
    consume = await first(session, commands.Basic.Consume)
    assert (consume.queue, consume.no_ack) == ("amq.rabbitmq.reply-to", True)


async def first(session, kind):
    return next(method for method in session.methods if isinstance(method, kind))


async def test_a_reply_may_come_before_the_confirm(shop, session, message, soon):
    asked = shop.ask(message(wait=5))
    answer(session, await session.next(Published))
    assert await soon(asked) == b"pong"
    session.confirm(1, 1)
    again = shop.ask(message(wait=5))
    published = await session.next(Published)
    session.confirm(1, 2)
    answer(session, published)
    assert await soon(again) == b"pong"


async def test_a_reply_that_comes_too_late_is_ignored(shop, session, message, clock, soon):
    asked = shop.ask(message(wait=5))
    late = await session.next(Published)
    await clock.advance(5)
    error = await soon(asked)
    assert isinstance(error, InvocationTimeout)
    assert str(error) == "shop.price did not answer within 5 s"
    answer(session, late)
    session.deliver(1, CONSUMER, 2, b"?", correlation_id="nobody's")
    session.deliver(1, CONSUMER, 3, b"?")
    again = shop.ask(message(wait=5))
    answer(session, await session.next(Published), b"in time")
    assert await soon(again) == b"in time"


async def test_a_reply_that_cannot_be_read_is_ignored(shop, session, message, clock, soon):
    asked = shop.ask(message(wait=5))
    published = await session.next(Published)
    method = b"\0\x3c\0\x3c\x04c1.0" + (1).to_bytes(8, "big") + b"\0\0\0"
    header = b"\0\x3c\0\0" + bytes(8) + b"\x20\0\0\0\xff\xff"
    for kind, payload in ((1, method), (2, header)):
        session.write(bytes((kind, 0, 1)) + len(payload).to_bytes(4, "big") + payload + b"\xce")
    answer(session, published)
    assert await soon(asked) == b"pong"


async def test_a_second_reply_is_ignored(shop, session, message, soon):
    asked = shop.ask(message(wait=5))
    published = await session.next(Published)
    answer(session, published, b"first")
    answer(session, published, b"second")
    assert await soon(asked) == b"first"


async def test_a_request_that_reaches_no_function(shop, session, message, soon):
    asked = shop.ask(message(wait=5))
    session.return_message(1, await session.next(Published))
    session.confirm(1, 1)
    error = await soon(asked)
    assert isinstance(error, FunctionNotFound)
    assert error.name == "shop.price"


async def refuse(session, *, tag=1):
    """Refuse the next request, and return the number of the channel on which it came."""
    number, _ = await session.next(Published, channel=True)
    session.send(number, commands.Basic.Nack(tag))
    return number


async def test_a_line_that_is_full(shop, session, message, clock, soon, until, monkeypatch):
    shop.depth = 5
    waits = []

    async def sleep(clock, delay):
        waits.append(delay)
        await real(clock, delay)

    real = refusals.sleep
    monkeypatch.setattr(refusals, "sleep", sleep)
    asked = shop.ask(message(wait=5))
    for _ in range(2):
        await refuse(session)
    await until(lambda: waits)
    await clock.advance(TRIAL_SECONDS)
    await refuse(session)
    error = await soon(asked)
    assert isinstance(error, Throttled)
    assert "shop.price is full" in str(error)
    assert not shop.requests._open  # noqa: SLF001 what is left of it nobody else could see


async def test_a_line_that_has_another_leader(shop, session, message, soon):
    """A channel may remember the one that died; the next has a consumer for replies of its own."""
    asked = shop.ask(message(wait=5))
    await refuse(session)
    number, published = await session.next(Published, channel=True)
    assert number != 1
    session.confirm(number, 1)
    correlation_id = published.properties.correlation_id
    session.deliver(number, f"c{number}.0", 1, b"pong", correlation_id=correlation_id)
    assert await soon(asked) == b"pong"
    assert (await session.next(commands.Channel.Close, channel=True))[0] == 1
    asked = shop.ask(message(wait=5))
    again, published = await session.next(Published, channel=True)
    assert again == number
    correlation_id = published.properties.correlation_id
    session.deliver(number, f"c{number}.0", 2, b"pang", correlation_id=correlation_id)
    assert await soon(asked) == b"pang"
    assert not shop.requests._open  # noqa: SLF001 what is left of it nobody else could see


@pytest.mark.parametrize("lost", [False, True])
async def test_replies_still_come_to_a_channel_that_was_replaced(
    shop, session, message, soon, lost
):
    earlier = shop.ask(message(wait=5))
    waiting = await session.next(Published)
    later = shop.ask(message(wait=5))
    await refuse(session, tag=2)
    number, published = await session.next(Published, channel=True)
    session.confirm(number, 1)
    if lost:
        session.close_channel(1)
        error = await soon(earlier)
        assert isinstance(error, BrokerUnavailable)
        assert "may or may not have run" in str(error)
    else:
        answer(session, waiting)
        assert await soon(earlier) == b"pong"
    correlation_id = published.properties.correlation_id
    session.deliver(number, f"c{number}.0", 1, b"pang", correlation_id=correlation_id)
    assert await soon(later) == b"pang"
    if not lost:
        assert (await session.next(commands.Channel.Close, channel=True))[0] == 1


async def test_a_line_without_a_leader_until_the_deadline(shop, session, message, soon):
    asked = shop.ask(message(wait=0.5))
    for _ in range(2):
        await refuse(session)
    error = await soon(asked)
    assert isinstance(error, BrokerUnavailable)
    assert "shop.price: RabbitMQ refuses the message" in str(error)


async def test_a_refused_request_that_is_not_answered_in_time(shop, session, message, clock, soon):
    asked = shop.ask(message(wait=5))
    await refuse(session)
    number, _ = await session.next(Published, channel=True)
    session.confirm(number, 1)
    await clock.advance(5)
    error = await soon(asked)
    assert isinstance(error, InvocationTimeout)
    assert "shop.price did not answer within 5 s" in str(error)


async def test_a_deadline_that_has_passed_is_not_asked_for(shop, session, message):
    with pytest.raises(InvocationTimeout, match="was not called"):
        await shop.requests.request(ROUTE, message(wait=0))
    with pytest.raises(ValueError, match="has no deadline: set one"):
        await shop.requests.request(ROUTE, message())
    with pytest.raises(PayloadTooLarge):
        await shop.requests.request(ROUTE, message(bytes(MAX_BODY + 1), wait=5))
    with pytest.raises(PayloadInvalid):
        await shop.requests.request(ROUTE, message(wait=5, headers={"n": "v" * 200_000}))


async def test_a_deadline_far_away_is_what_rabbitmq_takes(shop, session, message, soon):
    asked = shop.ask(message(wait=400 * 86_400))
    published = await session.next(Published)
    assert published.properties.expiration == str(2**32 - 1)
    answer(session, published)
    await soon(asked)


@pytest.mark.parametrize("how", ["cut", "close", "channel"])
async def test_a_lost_way_back_ends_open_requests_at_once(shop, session, message, soon, how):
    """Also of those that were confirmed: direct replies end with their channel."""
    asked = [shop.ask(message(wait=600)) for _ in range(3)]
    for _ in asked:
        await session.next(Published)
    session.confirm(1, 2, multiple=True)
    match how:
        case "cut":
            session.cut()
        case "close":
            session.close_connection()
        case "channel":
            session.close_channel(1)
    for one in asked:
        error = await soon(one)
        assert isinstance(error, BrokerUnavailable)
        assert "may or may not" in str(error)


async def test_a_lost_connection_is_no_end(rabbit, shop, session, message, soon):
    session.cut()
    other = await rabbit.session()
    asked = shop.ask(message(wait=600))
    answer(other, await other.next(Published))
    assert await soon(asked) == b"pong"


async def test_a_channel_closed_alone_is_opened_again_once(shop, session, message, soon):
    session.close_channel(1)
    await session.next(commands.Channel.CloseOk)
    asked = [shop.ask(message(wait=600)) for _ in range(5)]
    for tag in range(1, 6):
        channel, published = await session.next(Published, channel=True)
        session.deliver(
            channel, f"c{channel}.0", tag, correlation_id=published.properties.correlation_id
        )
    assert [await soon(one) for one in asked] == [b"{}"] * 5
    assert session.count(commands.Basic.Consume) == 2


async def test_a_channel_whose_consumer_cannot_be_made_is_closed(shop, session, message, soon):
    session.close_channel(1)
    await session.next(commands.Channel.CloseOk)
    del session.answers[commands.Basic.Consume]
    asked = shop.ask(message(wait=600))
    channel, _ = await session.next(commands.Basic.Consume, channel=True)
    asked.cancel()
    assert (await session.next(commands.Channel.Close, channel=True))[0] == channel


async def test_cancelling_forgets_the_request(shop, session, message, soon):
    asked = shop.ask(message(wait=5))
    published = await session.next(Published)
    asked.cancel()
    session.confirm(1, 1)
    answer(session, published)
    again = shop.ask(message(wait=5))
    answer(session, await session.next(Published))
    assert await soon(again) == b"pong"
    assert not shop.requests._open  # noqa: SLF001 what is left of it nobody else could see


async def test_so_many_are_open_at_once(shop, session, message, soon, monkeypatch):
    monkeypatch.setattr(requests_module, "MAX_OPEN", 2)
    asked = [shop.ask(message(wait=5)) for _ in range(3)]
    assert isinstance(await soon(asked[2]), Throttled)
    for one in asked[:2]:
        answer(session, await session.next(Published))
        await soon(one)
    again = shop.ask(message(wait=5))
    answer(session, await session.next(Published))
    assert await soon(again) == b"pong"


async def test_a_blocked_broker_is_said_at_once(shop, session, message, soon, until):
    session.send(0, commands.Connection.Blocked("low on disk"))
    await until(lambda: shop.link.current.blocked)
    assert "low on disk" in str(await soon(shop.ask(message(wait=600))))


@pytest.mark.parametrize(("wait", "waited"), [(5, 5), (600, TIMEOUT)])
async def test_without_a_connection_it_waits_so_long(
    clock, tasks, message, soon, keeping_open, wait, waited
):
    async with fake_rabbit() as gone:
        pass
    shop = Shop(gone.address, clock, tasks)
    async with keeping_open(shop.link):
        asked = shop.ask(message(wait=wait))
        await clock.advance(waited - 0.1)
        assert not asked.done()
        await clock.advance(0.1)
        error = await soon(asked)
    assert isinstance(error, BrokerUnavailable)
    assert "shop.price was not called: there is no connection" in str(error)


async def test_who_does_not_want_to_wait_is_told_at_once(rabbit, clock, tasks, message, soon):
    shop = Shop(rabbit.address, clock, tasks, timeout=0)
    assert "there is no connection" in str(await soon(shop.ask(message(wait=600))))


async def test_closing_ends_open_requests(rabbit, clock, tasks, message, keeping_open, soon):
    shop = Shop(rabbit.address, clock, tasks)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        asked = shop.ask(message(wait=600))
        await (await rabbit.session()).next(Published)
    assert isinstance(await soon(asked), BrokerUnavailable)
    assert "is closed" in str(await soon(shop.ask(message(wait=600))))
