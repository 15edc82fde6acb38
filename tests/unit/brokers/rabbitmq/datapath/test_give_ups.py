"""A queue, a channel or a node that confirms nothing: what goes on, and where to."""

import logging

import pytest
from fake_rabbitmq import Published, fake_rabbit
from pamqp import commands
from publishing import ROUTE, TIMEOUT, Shop

from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.datapath import publisher as publisher_module
from eventmesh.brokers.rabbitmq.datapath.give_ups import IN_ROW, LEAVE_SECONDS, STUCK_SECONDS
from eventmesh.brokers.rabbitmq.delays import delayed_route
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import to_function, to_subscribers

WINDOW = 8
PART = WINDOW // 4
STUCK = ROUTE


def other(number=0):
    return to_function(f"shop.other{number}")


@pytest.fixture(autouse=True)
def part_of_the_window(monkeypatch):
    assert publisher_module.ROUTE_WINDOW == publisher_module.WINDOW // 4
    monkeypatch.setattr(publisher_module, "ROUTE_WINDOW", PART)


@pytest.fixture
async def shop(rabbit, clock, tasks, keeping_open, soon):
    shop = Shop(rabbit.address, clock, tasks, window=WINDOW)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        yield shop


@pytest.fixture
async def session(rabbit, shop):
    return await rabbit.session()


async def take(session, count):
    """The ids of the next messages."""
    return [(await session.next(Published)).properties.message_id for _ in range(count)]


async def test_a_queue_that_answers_nothing_does_not_stop_the_others(shop, session, message, soon):
    stuck = [shop.send(message(), STUCK) for _ in range(2 * WINDOW)]
    await take(session, PART)
    for tag in range(PART + 1, PART + 20):
        send = shop.send(message(), other())
        await take(session, 1)
        session.confirm(1, tag)
        assert await soon(send) is None
    assert not any(send.done() for send in stuck)
    for send in stuck:
        send.cancel()


async def test_those_behind_go_on_in_their_order(shop, session, message, soon):
    messages = [message() for _ in range(4 * PART)]
    sends = [shop.send(one, STUCK) for one in messages]
    seen = await take(session, PART)
    for tag in range(1, 3 * PART + 1):
        session.confirm(1, tag)
        seen += await take(session, 1)
    session.confirm(1, 4 * PART, multiple=True)
    assert [await soon(send) for send in sends] == [None] * len(sends)
    assert seen == [one.id for one in messages]


async def test_all_the_room_is_there_again(shop, session, message, soon):
    """After sends that were confirmed, and that were cancelled while they waited."""
    for _ in range(3):
        sends = [shop.send(message(), STUCK) for _ in range(2 * PART)]
        await take(session, PART)
        sends[-1].cancel()
        tag = shop.link.current._channels[1].confirms.answered  # noqa: SLF001
        session.confirm(1, tag + PART, multiple=True)
        await take(session, PART - 1)
        session.confirm(1, tag + 2 * PART - 1, multiple=True)
        assert [await soon(send) for send in sends[:-1]] == [None] * (2 * PART - 1)
    assert shop.publisher._under_way == 0  # noqa: SLF001
    assert shop.publisher._lines == {}  # noqa: SLF001
    assert shop.publisher._line_waiting == {}  # noqa: SLF001


async def test_who_cannot_be_sent_is_told_of_the_queue(shop, session, message, clock, soon):
    sends = [shop.send(message(), STUCK) for _ in range(PART + 1)]
    await take(session, PART)
    await clock.advance(TIMEOUT)
    errors = [await soon(send) for send in sends]
    assert all(isinstance(error, BrokerUnavailable) for error in errors)
    assert f"and {PART} others are under way to the same queue" in str(errors[-1])


@pytest.mark.parametrize(
    ("routes", "sent"),
    [
        ([delayed_route(ROUTE, 0.8 + number / 10) for number in range(8)], PART),
        ([to_subscribers(f"order.{number}") for number in range(8)], WINDOW),
        ([other(number) for number in range(8)], WINDOW),
    ],
    ids=["one level of delays", "events", "queues"],
)
async def test_what_counts_as_one_queue(shop, session, message, clock, routes, sent):
    sends = [shop.send(message(), route) for route in routes]
    await take(session, sent)
    await clock.settle()
    assert shop.publisher._under_way == sent  # noqa: SLF001
    for send in sends:
        send.cancel()


async def lose_part_of_the_window(shop, session, message, clock, soon):
    sends = [shop.send(message(), STUCK) for _ in range(PART)]
    await take(session, PART)
    await clock.advance(TIMEOUT)
    for send in sends:
        assert "may or may not be stored" in str(await soon(send))


async def test_a_channel_on_which_much_is_given_up_is_replaced(
    shop, session, message, clock, soon, caplog
):
    caplog.set_level(logging.WARNING, "eventmesh.rabbitmq")
    await lose_part_of_the_window(shop, session, message, clock, soon)
    for _ in range(int(STUCK_SECONDS / TIMEOUT) - 1):
        waiting = shop.send(message(), STUCK)
        await clock.advance(TIMEOUT)
        assert "does not confirm" not in caplog.text
        assert "to the same queue" in str(await soon(waiting))
    assert session.count(commands.Channel.Open) == 1
    waiting = shop.send(message(), STUCK)
    await clock.advance(TIMEOUT)
    assert "to the same queue" in str(await soon(waiting))
    send = shop.send(message(), STUCK)
    number, _ = await session.next(Published, channel=True)
    assert session.count(commands.Channel.Open) == 2
    session.confirm(number, 1)
    assert await soon(send) is None
    assert f"does not confirm {PART} messages" in caplog.text
    assert session.count(commands.Channel.Close) == 1


async def test_what_waits_on_the_replaced_channel_is_confirmed_there(
    shop, session, message, clock, soon
):
    await lose_part_of_the_window(shop, session, message, clock, soon)
    await clock.advance(STUCK_SECONDS - TIMEOUT + 1)
    waiting = shop.send(message(), STUCK)
    await clock.advance(TIMEOUT - 1)
    live = shop.send(message(), other())
    await take(session, 1)
    await clock.advance(1)
    assert "to the same queue" in str(await soon(waiting))
    send = shop.send(message(), other(1))
    number, _ = await session.next(Published, channel=True)
    session.confirm(number, 1)
    assert await soon(send) is None
    assert number != 1
    assert session.count(commands.Channel.Close) == 0
    session.confirm(1, PART + 1)
    assert await soon(live) is None
    assert (await session.next(commands.Channel.Close, channel=True))[0] == 1


@pytest.fixture
async def nodes():
    async with fake_rabbit() as one, fake_rabbit() as two:
        yield [one, two]


@pytest.fixture
async def cluster(nodes, clock, tasks, keeping_open, soon):
    address = nodes[0].address
    both = Address((*address.hosts, *nodes[1].address.hosts), "/", "guest", "guest")
    shop = Shop(both, clock, tasks, window=100)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        yield shop


async def in_use(nodes):
    (node,) = [node for node in nodes if node.sessions]
    return node, await node.session()


async def test_a_node_that_confirms_nothing_is_left(cluster, nodes, message, clock, soon):
    node, session = await in_use(nodes)
    (other_node,) = [one for one in nodes if one is not node]
    await give_up_many(cluster, session, message, clock, soon)
    send = cluster.send(message())
    session = await other_node.session()
    await take(session, 1)
    session.confirm(1, 1)
    assert await soon(send) is None
    assert len(node.sessions) == 1


async def test_a_node_that_confirms_something_is_kept(cluster, nodes, message, clock, soon):
    _, session = await in_use(nodes)
    sends = [cluster.send(message(), other(number)) for number in range(IN_ROW - 1)]
    await take(session, IN_ROW - 1)
    await clock.advance(TIMEOUT / 2)
    late = [cluster.send(message(), STUCK) for _ in range(PART)]
    await take(session, PART)
    await clock.advance(TIMEOUT / 2)
    for send in sends:
        await soon(send)
    session.confirm(1, IN_ROW)
    assert await soon(late[0]) is None
    await clock.advance(TIMEOUT / 2)
    assert "may or may not" in str(await soon(late[1]))
    assert not cluster.link.current.closed.done()
    assert sum(len(node.sessions) for node in nodes) == 1


async def give_up_many(shop, session, message, clock, soon):
    sends = [shop.send(message(), other(number)) for number in range(IN_ROW)]
    await take(session, IN_ROW)
    await clock.advance(TIMEOUT)
    for send in sends:
        assert isinstance(await soon(send), BrokerUnavailable)


async def test_a_node_is_not_left_again_at_once(cluster, nodes, message, clock, soon):
    """All of them may be slow, or the queues stuck."""
    first, session = await in_use(nodes)
    (second,) = [one for one in nodes if one is not first]
    await give_up_many(cluster, session, message, clock, soon)
    session = await second.session()
    await soon(cluster.link.wait_connected())
    await give_up_many(cluster, session, message, clock, soon)
    assert cluster.link.current.endpoint.peer[1] == second.port
    await clock.advance(LEAVE_SECONDS)
    await give_up_many(cluster, session, message, clock, soon)
    await first.session()
    assert (len(first.sessions), len(second.sessions)) == (2, 1)


async def test_a_single_node_is_not_left(shop, session, message, clock, soon):
    sends = [shop.send(message(), other(number)) for number in range(IN_ROW + 1)]
    await take(session, IN_ROW + 1)
    await clock.advance(TIMEOUT)
    for send in sends:
        assert "did not confirm" in str(await soon(send))
    assert shop.link.current is not None
