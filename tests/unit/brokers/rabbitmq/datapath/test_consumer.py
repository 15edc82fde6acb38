"""One live consumer a subscription, after any number of losses, and none after it was stopped."""

import asyncio
import logging

import pytest
from fake_rabbitmq import fake_rabbit
from pamqp import commands

from eventmesh.brokers.rabbitmq.amqp.properties import UNREADABLE
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.consumer import Consumer, keep_consuming
from eventmesh.model.errors import BrokerUnavailable, DeclarationError

QUEUE = "em.inbox.shop.place"


class Shop:
    """A consumer, and what has been delivered and declared."""

    def __init__(self, address, clock):
        self.link = ReconnectingConnection(address, "test")
        self.deliveries = asyncio.Queue()
        self.declared = 0
        self.faults = []
        self.consumer = Consumer(
            self.link,
            clock,
            QUEUE,
            5,
            deliver=self.deliveries.put_nowait,
            declare=self.declare,
        )

    async def declare(self):
        self.declared += 1
        if self.faults:
            raise self.faults.pop(0)
        return QUEUE


@pytest.fixture
def shop(rabbit, clock):
    return Shop(rabbit.address, clock)


@pytest.fixture
async def served(rabbit, shop, tasks, keeping_open, soon):
    """The server's end, while the consumer runs."""
    async with keeping_open(shop.link), keep_consuming(shop.consumer):
        yield await rabbit.session()


def live(session):
    """How many consumers a server has by all that was said: one ends with its channel too."""
    consumers = set()
    for channel, method in session.log:
        match method:
            case commands.Basic.Consume():
                consumers.add((channel, method.consumer_tag))
            case commands.Basic.Cancel():
                consumers.discard((channel, method.consumer_tag))
            case commands.Channel.Close() | commands.Channel.CloseOk():
                consumers = {one for one in consumers if one[0] != channel}
    return len(consumers)


async def test_a_delivery_is_handed_over_and_answered(served, shop, soon, clock):
    served.deliver(1, "c1.0", 1, b"[1]", message_id="a", redelivered=True)
    served.deliver(1, "c1.0", 2, b"[2]")
    first, second = await soon(shop.deliveries.get()), await soon(shop.deliveries.get())
    assert (first.message.id, first.message.body, first.redeliveries) == ("a", b"[1]", 1)
    assert (second.message.timestamp, second.redeliveries) == (clock.now(), 0)
    first.ack()
    second.requeue()
    nack = await served.next(commands.Basic.Nack)
    assert (nack.delivery_tag, nack.requeue, nack.multiple) == (2, True, False)
    assert (await served.next(commands.Basic.Ack)).delivery_tag == 1


async def test_it_consumes_with_a_prefetch_of_its_own(served):
    assert (await served.next(commands.Basic.Qos)).prefetch_count == 5
    consume = await served.next(commands.Basic.Consume)
    assert (consume.queue, consume.no_ack, consume.exclusive) == (QUEUE, False, False)


async def test_properties_that_cannot_be_read_cost_no_connection(served, shop, soon):
    # A header table that is longer than the frame it is in.
    method = b"\0\x3c\0\x3c\x04c1.0" + (1).to_bytes(8, "big") + b"\0\0\x01q"
    header = b"\0\x3c\0\0" + (2).to_bytes(8, "big") + b"\x20\0\0\0\xff\xff"
    for kind, payload in ((1, method), (2, header), (3, b"{}")):
        served.write(bytes((kind, 0, 1)) + len(payload).to_bytes(4, "big") + payload + b"\xce")
    delivery = await soon(shop.deliveries.get())
    assert delivery.message.body == b"{}"
    assert "over the end" in delivery.message.headers[UNREADABLE]
    delivery.ack()
    assert (await served.next(commands.Basic.Ack)).delivery_tag == 1
    assert shop.consumer.live.is_set()


async def test_who_cannot_reply_yet_takes_nothing(rabbit, shop, clock, keeping_open, tasks, soon):
    replies = ReconnectingConnection(rabbit.address, "replies")
    replying = Consumer(
        *(shop.link, clock, "em.rpc.shop.place", 5),
        deliver=shop.deliveries.put_nowait,
        declare=shop.declare,
        reply_connection=replies,
    )
    async with keeping_open(shop.link):
        starting = tasks.create_task(replying.start())
        # On the same connection, and longer than it takes to be served.
        await soon(shop.consumer.start())
        await soon(shop.consumer.stop())
        await soon(shop.consumer.close())
        assert not replying.live.is_set()
        async with keeping_open(replies):
            await soon(starting)
        assert replying.live.is_set()


async def restarted(shop, session, soon):
    """Wait for the next consumer, and check that it is the only one, and serves."""
    channel, consume = await session.next(commands.Basic.Consume, channel=True)
    await soon(shop.consumer.live.wait())
    assert live(session) == 1
    session.deliver(channel, consume.consumer_tag, 1, b"again")
    delivery = await soon(shop.deliveries.get())
    assert delivery.message.body == b"again"
    return channel, consume.consumer_tag


async def test_a_consumer_that_the_server_cancels_is_started_again(served, shop, soon):
    channel, tag = await restarted(shop, served, soon)
    for losses in range(1, 4):
        served.send(channel, commands.Basic.Cancel(tag, True))
        channel, tag = await restarted(shop, served, soon)
        assert shop.declared == losses + 1
    assert len(shop.link.current._channels) == 1  # noqa: SLF001 none of those before is left


async def test_a_channel_that_the_server_closes_is_opened_again(served, shop, soon):
    channel, _ = await restarted(shop, served, soon)
    for _ in range(3):
        served.close_channel(channel, 406, "PRECONDITION_FAILED - unknown delivery tag 1")
        channel, _ = await restarted(shop, served, soon)
    assert shop.declared == 4


async def test_a_lost_connection_is_no_end(rabbit, served, shop, soon):
    session = served
    for _ in range(3):
        await restarted(shop, session, soon)
        session.cut()
        session = await rabbit.session()
    await restarted(shop, session, soon)


async def test_losses_of_every_kind_one_after_the_other(rabbit, served, shop, soon):
    session = served
    for kind in ("cancel", "close", "cut", "close", "cut", "cancel", "cut", "close"):
        channel, tag = await restarted(shop, session, soon)
        match kind:
            case "cancel":
                session.send(channel, commands.Basic.Cancel(tag, True))
            case "close":
                session.close_channel(channel)
            case "cut":
                session.cut()
                session = await rabbit.session()
    await restarted(shop, session, soon)


async def test_a_restart_that_fails_is_tried_again_whatever_the_reason(served, shop, soon, caplog):
    channel, tag = await restarted(shop, served, soon)
    shop.faults = [
        BrokerUnavailable("not yet"),
        BrokerUnavailable("not yet"),
        DeclarationError("the queue has other arguments"),
        DeclarationError("the queue has other arguments"),
    ]
    caplog.set_level(logging.DEBUG, "eventmesh.rabbitmq")
    served.send(channel, commands.Basic.Cancel(tag, True))
    await restarted(shop, served, soon)
    assert shop.declared == 6
    logged = [(record.levelname, record.message.rpartition(": ")[2]) for record in caplog.records]
    assert logged == [
        ("DEBUG", "not yet"),
        ("DEBUG", "not yet"),
        ("WARNING", "the queue has other arguments"),
        ("DEBUG", "the queue has other arguments"),
        ("WARNING", "its queue was deleted or has moved"),
    ]


async def test_an_old_delivery_does_not_answer_on_a_new_channel(served, shop, soon):
    channel, tag = await restarted(shop, served, soon)
    served.deliver(channel, tag, 2)
    old = await soon(shop.deliveries.get())
    assert not old.stale
    served.send(channel, commands.Basic.Cancel(tag, True))
    await restarted(shop, served, soon)
    assert old.stale
    old.ack()
    old.requeue()
    await asyncio.sleep(0)
    await shop.link.current.open_channel()
    answers = served.count(commands.Basic.Ack), served.count(commands.Basic.Nack)
    assert answers == (0, 0)


async def test_answers_that_were_given_go_out_before_the_channel_is_closed(
    rabbit, shop, tasks, keeping_open, soon
):
    async with keeping_open(shop.link):
        async with keep_consuming(shop.consumer):
            session = await rabbit.session()
            session.deliver(1, "c1.0", 1)
            (await soon(shop.deliveries.get())).ack()
        kinds = [type(method) for method in session.methods]
        assert kinds[-3:] == [
            commands.Basic.Cancel,
            commands.Basic.Ack,
            commands.Channel.Close,
        ] or (kinds[-3:] == [commands.Basic.Ack, commands.Basic.Cancel, commands.Channel.Close])
        assert live(session) == 0
        assert not shop.consumer.live.is_set()


async def test_nothing_is_delivered_once_it_is_stopped(served, shop, soon):
    served.deliver(1, "c1.0", 1)
    delivery = await soon(shop.deliveries.get())
    await soon(shop.consumer.stop())
    assert live(served) == 0
    served.deliver(1, "c1.0", 2)
    assert (await served.next(commands.Basic.Nack)).delivery_tag == 2
    delivery.ack()
    assert (await served.next(commands.Basic.Ack)).delivery_tag == 1
    assert shop.deliveries.empty()


async def test_stopping_twice_cancels_once(served, shop, soon):
    await soon(shop.consumer.stop())
    await soon(shop.consumer.stop())
    assert served.count(commands.Basic.Cancel) == 1


async def test_stopping_while_it_is_started_again_leaves_none(served, shop, soon):
    await restarted(shop, served, soon)
    del served.answers[commands.Basic.Consume]
    served.close_channel(1)
    channel, consume = await served.next(commands.Basic.Consume, channel=True)
    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(shop.consumer.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        served.send(channel, commands.Basic.ConsumeOk(consume.consumer_tag))
    assert (await served.next(commands.Basic.Cancel)).consumer_tag == consume.consumer_tag
    assert live(served) == 0


async def test_stopping_between_two_attempts_leaves_none(served, shop, soon):
    await restarted(shop, served, soon)
    served.close_channel(1)
    await served.next(commands.Channel.CloseOk)
    await soon(shop.consumer.stop())
    assert live(served) == 0
    assert served.count(commands.Basic.Consume) == 1


async def test_one_that_is_stopped_instead_of_started_again_does_not_say_so(
    rabbit, shop, tasks, keeping_open, soon, caplog
):
    caplog.set_level(logging.DEBUG, "eventmesh.rabbitmq")
    async with keeping_open(shop.link):
        await soon(shop.consumer.start())
        running = tasks.create_task(shop.consumer.run())
        session = await rabbit.session()
        session.close_channel(1)
        await session.next(commands.Channel.CloseOk)
        await soon(shop.consumer.stop())
        await soon(running)
    assert "was started again" not in caplog.text


async def test_stopping_while_it_is_disconnected(rabbit, served, shop, soon):
    rabbit.close()
    served.cut()
    await soon(served.ended.wait())
    await soon(shop.consumer.stop())


async def test_stopping_as_the_connection_is_lost(served, shop, soon):
    del served.answers[commands.Basic.Cancel]
    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(shop.consumer.stop())
        await served.next(commands.Basic.Cancel)
        served.cut()
    assert stopping.done()


async def test_a_stopped_consumer_stays_stopped_after_a_loss(rabbit, served, shop, soon):
    await soon(shop.consumer.stop())
    served.cut()
    session = await rabbit.session()
    await soon(shop.link.wait_connected())
    channel = await shop.link.current.open_channel()
    assert session.count(commands.Basic.Consume) == 0
    assert channel.is_open
    assert not shop.consumer.live.is_set()
    assert shop.consumer.ready  # With nothing, which is what it wants.


async def test_it_waits_for_a_broker_that_is_away(clock, tasks, keeping_open, soon, caplog):
    async with fake_rabbit() as gone:
        pass
    shop = Shop(gone.address, clock)
    async with keeping_open(shop.link):
        start = tasks.create_task(shop.consumer.start())
        async with fake_rabbit(port=gone.port) as rabbit:
            await soon(start)
            assert live(await rabbit.session()) == 1


async def test_what_the_queue_itself_is_refused_for_is_raised(rabbit, shop, tasks, keeping_open):
    shop.faults = [BrokerUnavailable("not yet"), DeclarationError("no such queue")]
    async with keeping_open(shop.link):
        with pytest.raises(DeclarationError, match="no such queue"):
            async with keep_consuming(shop.consumer):
                pytest.fail("it was entered")
    assert shop.declared == 2


async def test_an_error_of_the_block_is_raised_as_it_is(rabbit, shop, tasks, keeping_open):
    async with keeping_open(shop.link):
        with pytest.raises(ZeroDivisionError):
            async with keep_consuming(shop.consumer):
                raise ZeroDivisionError
        assert live(await rabbit.session()) == 0


@pytest.mark.parametrize("waits_for", [commands.Channel.Open, commands.Basic.Consume])
async def test_giving_up_the_start_leaves_nothing(
    rabbit, shop, tasks, keeping_open, waits_for, soon
):
    async with keeping_open(shop.link):
        connection = await soon(shop.link.wait_connected())
        session = await rabbit.session()
        del session.answers[waits_for]
        start = tasks.create_task(shop.consumer.start())
        await session.next(waits_for)
        start.cancel()
        await session.next(commands.Channel.Close)
        assert live(session) == 0
        assert not connection.closed.done()


@pytest.mark.parametrize("silent", [commands.Basic.Cancel, commands.Channel.Close])
async def test_leaving_that_is_given_up_leaves_no_consumer(
    rabbit, shop, tasks, keeping_open, silent, soon
):
    async with keeping_open(shop.link):
        leaving = tasks.create_task(enter_and_leave(shop, tasks))
        session = await rabbit.session()
        del session.answers[silent]
        await session.next(silent)
        leaving.cancel()
        if silent is commands.Basic.Cancel:
            await session.next(commands.Channel.Close)
        assert live(session) == 0


async def enter_and_leave(shop, tasks):
    async with keep_consuming(shop.consumer):
        pass


async def test_a_link_that_is_closed_ends_its_consumers(rabbit, shop, tasks, keeping_open, soon):
    async with keeping_open(shop.link):
        await shop.consumer.start()
        running = tasks.create_task(shop.consumer.run())
    await soon(running)
    with pytest.raises(BrokerUnavailable, match="the connection to RabbitMQ is closed"):
        await shop.consumer.start()


async def test_a_loss_is_said_with_its_reason(served, shop, soon, caplog):
    caplog.set_level(logging.WARNING)
    await restarted(shop, served, soon)
    served.close_channel(1, 406, "PRECONDITION_FAILED - delivery acknowledgement timed out")
    await restarted(shop, served, soon)
    assert f"the consumer of {QUEUE} was started again" in caplog.text
    assert "acknowledgement timed out" in caplog.text
