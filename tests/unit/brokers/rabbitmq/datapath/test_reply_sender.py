"""Replies: sent at once, or over the next connection, for as long as somebody waits for them."""

import pytest
from fake_rabbitmq import Published

from eventmesh.brokers.rabbitmq.datapath import reply_sender as replies_module
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.reply_sender import ReplySender
from eventmesh.model.errors import BrokerUnavailable, PayloadInvalid, PayloadTooLarge
from eventmesh.model.message import MAX_BODY

REPLY_TO = "amq.rabbitmq.reply-to.g1h2"


class Shop:
    """Replies over a link."""

    def __init__(self, address, clock):
        self.link = ReconnectingConnection(address, "test", self._prepare)
        self.replies = ReplySender(self.link, clock)

    async def _prepare(self, connection):
        await self.replies.prepare(connection)


@pytest.fixture
async def shop(rabbit, clock, keeping_open, soon):
    shop = Shop(rabbit.address, clock)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        yield shop


@pytest.fixture
async def session(rabbit, shop):
    return await rabbit.session()


def request(message, wait=60):
    return message(wait=wait, reply_to=REPLY_TO, correlation_id="7")


async def test_a_reply_is_sent_and_nothing_waits_for_it(shop, session, message):
    shop.replies.reply(request(message), message(b"42", type="error"))
    channel, published = await session.next(Published, channel=True)
    assert channel == 1
    assert published.body == b"42"
    assert (published.method.exchange, published.method.routing_key) == ("", REPLY_TO)
    assert (published.properties.correlation_id, published.properties.message_type) == (
        "7",
        "error",
    )
    assert not published.method.mandatory


async def test_who_gave_no_address_gets_no_reply(shop, session, message):
    shop.replies.reply(message(), message(b"nothing"))
    shop.replies.reply(request(message), message(b"something"))
    assert (await session.next(Published)).body == b"something"


async def test_a_reply_that_cannot_be_sent_says_so(shop, message):
    reply = shop.replies.reply
    with pytest.raises(PayloadTooLarge):
        reply(request(message), message(bytes(MAX_BODY + 1)))
    with pytest.raises(PayloadInvalid):
        reply(request(message), message(headers={"n": "v" * 200_000}))


async def test_replies_that_the_socket_does_not_take_have_a_bound(
    shop, session, message, monkeypatch
):
    monkeypatch.setattr(replies_module, "MAX_BUFFERED", 10_000_000)
    monkeypatch.setattr(shop.link.current, "_flush", lambda: None)
    asked = request(message)
    for _ in range(10):
        shop.replies.reply(asked, message(bytes(1_000_000)))
    with pytest.raises(BrokerUnavailable, match="wait to be sent already"):
        shop.replies.reply(asked, message(bytes(1_000_000)))
    assert shop.link.current.buffered < 12_000_000


async def test_a_closed_channel_for_replies_costs_the_connection(
    rabbit, shop, session, message, soon
):
    """Nobody who replies can wait for another: so there is one as soon as there is a connection."""
    session.close_channel(1, 406, "PRECONDITION_FAILED - message size 5 is larger than 4")
    await soon(session.ended.wait())
    other = await rabbit.session()
    await soon(shop.link.wait_connected())
    shop.replies.reply(request(message), message(b"again"))
    assert (await other.next(Published)).body == b"again"


async def lost(shop, session, soon):
    """Wait until the connection is lost."""
    session.cut()
    await soon(shop.link.current.closed)


async def test_replies_without_a_connection_are_sent_over_the_next(
    rabbit, shop, session, message, soon
):
    await lost(shop, session, soon)
    for body in (b"one", b"two"):
        shop.replies.reply(request(message), message(body))
    other = await rabbit.session()
    published = [await other.next(Published) for _ in range(2)]
    assert [one.body for one in published] == [b"one", b"two"]
    assert {one.method.routing_key for one in published} == {REPLY_TO}
    assert {one.properties.correlation_id for one in published} == {"7"}


async def test_a_reply_that_nobody_waits_for_any_more_is_not_sent(
    rabbit, shop, session, message, clock, soon, caplog
):
    await lost(shop, session, soon)
    shop.replies.reply(request(message, wait=5), message(b"late"))
    shop.replies.reply(request(message, wait=6), message(b"in time"))
    await clock.advance(5)
    assert (await (await rabbit.session()).next(Published)).body == b"in time"
    assert "replies lost: 1;" in caplog.text


async def test_what_waits_for_a_connection_has_bounds(shop, session, message, soon, monkeypatch):
    monkeypatch.setattr(replies_module, "MAX_HELD", 3)
    await lost(shop, session, soon)
    for _ in range(3):
        shop.replies.reply(request(message), message())
    with pytest.raises(BrokerUnavailable, match="3 replies wait for one already"):
        shop.replies.reply(request(message), message())
    shop.replies.close()
    monkeypatch.setattr(replies_module, "MAX_BUFFERED", 10)
    shop.replies.reply(request(message), message(b"0123456789 and more"))
    with pytest.raises(BrokerUnavailable, match="1 replies wait"):
        shop.replies.reply(request(message), message())


async def test_what_was_not_sent_in_the_end_is_told(shop, session, message, soon, caplog):
    await lost(shop, session, soon)
    shop.replies.reply(request(message), message())
    shop.replies.close()
    assert "replies lost: 1; there is no connection" in caplog.text
