"""What the broker refuses: a new channel may take it, and only a full queue is called full."""

import pytest
from fake_rabbitmq import Published
from pamqp import commands
from publishing import ROUTE, TIMEOUT, Shop

from eventmesh.brokers.rabbitmq.access.names import Names
from eventmesh.brokers.rabbitmq.datapath import refusals
from eventmesh.brokers.rabbitmq.datapath.refusals import (
    ELECTION_SECONDS,
    MEMORY_SECONDS,
    TRIAL_SECONDS,
)
from eventmesh.brokers.rabbitmq.delays import delayed_route
from eventmesh.model.errors import BrokerUnavailable, FunctionNotFound, Throttled
from eventmesh.model.topology import named, to_function, to_queue, to_subscribers

OTHER = to_function("shop.cancel")


class Depths(dict):
    """How many messages wait in the queues, and which ones were asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    async def count(self, queue):
        self.asked.append(queue)
        depth = self.get(queue, 0)
        if isinstance(depth, Exception):
            raise depth
        return depth


@pytest.fixture
def depths():
    return Depths()


@pytest.fixture
async def shop(rabbit, clock, tasks, keeping_open, soon, depths):
    shop = Shop(rabbit.address, clock, tasks, window=100, count=depths.count)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        yield shop


@pytest.fixture
async def session(rabbit, shop):
    return await rabbit.session()


class Answers:
    """Answers messages in the order in which they come, whatever channels they come on."""

    def __init__(self, session):
        self._session = session
        self._tags = {}

    @property
    def opened(self):
        return self._session.count(commands.Channel.Open)

    async def _next(self):
        number, published = await self._session.next(Published, channel=True)
        opened = [
            one for one, method in self._session.log if isinstance(method, commands.Channel.Open)
        ]
        channel = (
            number,
            opened.count(number),
        )  # A number is used again once its channel is closed.
        self._tags[channel] = self._tags.get(channel, 0) + 1
        return channel, published

    async def confirm(self):
        channel, published = await self._next()
        self._session.confirm(channel[0], self._tags[channel])
        return channel, published

    async def refuse(self):
        channel, published = await self._next()
        self._session.send(channel[0], commands.Basic.Nack(self._tags[channel]))
        return channel, published


@pytest.fixture
def answers(session):
    return Answers(session)


@pytest.fixture
def next_trial(monkeypatch, until, clock):
    """Wait until so many messages wait for a new channel, and let it be time for one."""
    begun = 0

    async def sleep(clock, delay):
        nonlocal begun
        begun += 1
        await refusals.real_sleep(clock, delay)

    monkeypatch.setattr(refusals, "real_sleep", refusals.sleep, raising=False)
    monkeypatch.setattr(refusals, "sleep", sleep)

    async def next_trial(waiting=1):
        nonlocal begun
        await until(lambda: begun == waiting)
        begun = 0
        await clock.settle()
        await clock.advance(TRIAL_SECONDS)

    return next_trial


async def test_a_channel_that_remembers_a_dead_leader_is_replaced(
    shop, session, answers, message, soon
):
    sent = message(b"[1]")
    send = shop.send(sent)
    old, _ = await answers.refuse()
    new, again = await answers.confirm()
    assert await soon(send) is None
    assert (again.body, again.properties.message_id) == (b"[1]", sent.id)
    assert again.method.routing_key == ROUTE.key
    assert (await session.next(commands.Channel.Close, channel=True))[0] == old[0]
    later = shop.send(message())
    assert (await answers.confirm())[0] == new
    assert await soon(later) is None


async def test_what_waits_on_the_replaced_channel_is_confirmed_there(shop, session, message, soon):
    slow, refused = shop.send(message()), shop.send(message(), OTHER)
    for _ in range(2):
        await session.next(Published)
    session.send(1, commands.Basic.Nack(2))
    number, _ = await session.next(Published, channel=True)
    session.confirm(number, 1)
    assert await soon(refused) is None
    assert session.count(commands.Channel.Close) == 0
    session.confirm(1, 1)
    assert await soon(slow) is None
    assert (await session.next(commands.Channel.Close, channel=True))[0] == 1


async def test_one_message_is_tried_for_all_that_are_refused(shop, session, message, soon):
    sends = [shop.send(message()) for _ in range(5)]
    for _ in sends:
        await session.next(Published)
    session.send(1, commands.Basic.Nack(5, multiple=True))
    number, _ = await session.next(Published, channel=True)
    session.confirm(number, 1)
    for _ in sends[1:]:
        assert (await session.next(Published, channel=True))[0] == number
    session.confirm(number, 5, multiple=True)
    assert [await soon(send) for send in sends] == [None] * 5
    assert session.count(commands.Channel.Open) == 2


async def test_a_full_queue_keeps_no_other_from_the_new_channel(
    shop, answers, message, soon, next_trial
):
    full = shop.send(message())
    await answers.refuse()
    new, _ = await answers.refuse()
    stale = shop.send(message(), OTHER)
    await answers.refuse()
    assert (await answers.confirm())[0] == new
    assert await soon(stale) is None
    # It is tried again on the channel in use, which is another one than refused it.
    await next_trial()
    assert (await answers.confirm())[0] == new
    assert await soon(full) is None


async def test_there_is_one_new_channel_a_second(shop, answers, message, soon, next_trial):
    first = shop.send(message())
    await answers.refuse()
    await answers.refuse()
    second = shop.send(message())
    await answers.refuse()
    assert answers.opened == 2
    await next_trial(waiting=2)
    new, _ = await answers.confirm()
    assert (await answers.confirm())[0] == new
    assert [await soon(first), await soon(second)] == [None, None]
    assert answers.opened == 3


async def refused_until_the_end(answers, next_trial):
    await answers.refuse()
    for _ in range(int(TIMEOUT / TRIAL_SECONDS) - 1):
        await answers.refuse()
        await next_trial()
    await answers.refuse()


async def test_a_queue_without_a_leader_is_not_called_full(
    shop, answers, message, soon, next_trial, depths
):
    depths[ROUTE.key] = BrokerUnavailable("nobody knows")
    send = shop.send(message())
    await refused_until_the_end(answers, next_trial)
    error = await soon(send)
    assert isinstance(error, BrokerUnavailable)
    assert "shop.place: RabbitMQ refuses the message" in str(error)
    assert "it was not stored" in str(error)


async def test_a_full_queue_is_called_full(shop, answers, message, soon, next_trial, depths):
    depths[ROUTE.key] = 5
    send = shop.send(message())
    await answers.refuse()
    await answers.refuse()
    # It may have been without a leader until just now, so it is asked first and tried then.
    await next_trial()
    await answers.refuse()
    error = await soon(send)
    assert isinstance(error, Throttled)
    assert "the queue of shop.place is full" in str(error)
    assert error.retry_after > 0
    assert depths.asked == [ROUTE.key] * 2
    # The next is told at once, and nothing more is tried within the second.
    again = shop.send(message())
    await answers.refuse()
    assert isinstance(await soon(again), Throttled)
    assert answers.opened == 3


async def test_a_queue_that_was_full_long_ago_may_be_without_a_leader_now(
    shop, answers, message, soon, next_trial, depths, clock
):
    depths[ROUTE.key] = 5
    send = shop.send(message())
    await answers.refuse()
    await answers.refuse()
    await next_trial()
    await answers.refuse()
    assert isinstance(await soon(send), Throttled)
    await clock.advance(MEMORY_SECONDS + 1)
    depths[ROUTE.key] = 0
    send = shop.send(message())
    await refused_until_the_end(answers, next_trial)
    assert isinstance(await soon(send), BrokerUnavailable)


async def test_an_event_is_called_refused_by_a_full_queue_after_an_election(
    shop, answers, message, soon, next_trial, depths
):
    send = shop.send(message(), to_subscribers("order.placed"))
    await answers.refuse()
    for _ in range(int(ELECTION_SECONDS / TRIAL_SECONDS)):
        await answers.refuse()
        await next_trial()
    await answers.refuse()
    assert isinstance(await soon(send), Throttled)
    assert depths.asked == []


NAMES = Names("orders")


@pytest.mark.parametrize(
    ("route", "queue"),
    [
        (delayed_route(ROUTE, 1.0), "em.delay.3"),
        (delayed_route(ROUTE, 1.0, NAMES.delays), "em.delay.orders.3"),
        (NAMES.route(ROUTE), ROUTE.key),
        (NAMES.route(to_queue(named("theirs"))), "theirs"),
        (NAMES.route(to_subscribers("order.placed")), None),
    ],
)
async def test_which_queue_is_asked(shop, answers, message, soon, next_trial, depths, route, queue):
    send = shop.send(message(), route)
    await answers.refuse()
    await answers.refuse()
    await next_trial()
    await answers.confirm()
    assert await soon(send) is None
    assert depths.asked == ([] if queue is None else [queue])


async def test_who_does_not_want_to_wait_is_told_after_one_new_channel(
    rabbit, clock, tasks, keeping_open, message, soon
):
    shop = Shop(rabbit.address, clock, tasks, timeout=0)
    async with keeping_open(shop.link):
        await soon(shop.link.wait_connected())
        answers = Answers(await rabbit.session())
        send = shop.send(message())
        await answers.refuse()
        await answers.refuse()
        assert isinstance(await soon(send), BrokerUnavailable)
        assert answers.opened == 2


async def test_a_queue_that_is_gone_by_then(shop, session, answers, message, soon):
    send = shop.send(message())
    await answers.refuse()
    number, published = await session.next(Published, channel=True)
    session.return_message(number, published)
    session.confirm(number, 1)
    assert isinstance(await soon(send), FunctionNotFound)


async def test_a_connection_that_is_lost_meanwhile(shop, session, answers, message, soon):
    send = shop.send(message())
    await answers.refuse()
    await session.next(Published)
    session.cut()
    error = await soon(send)
    assert isinstance(error, BrokerUnavailable)
    assert "may or may not be stored" in str(error)


async def test_a_new_channel_that_is_not_opened(shop, session, answers, message, soon, clock):
    del session.answers[commands.Channel.Open]
    send = shop.send(message())
    await answers.refuse()
    await session.next(commands.Channel.Open)
    await clock.settle()
    await clock.advance(TIMEOUT)
    assert "it was not stored" in str(await soon(send))


async def test_who_leaves_while_trying_leaves_it_to_the_others(
    shop, session, answers, message, soon, next_trial
):
    leaving, staying = shop.send(message()), shop.send(message())
    await answers.refuse()
    await answers.refuse()
    await session.next(Published)
    leaving.cancel()
    await next_trial()
    await answers.confirm()
    assert await soon(staying) is None
