"""Published messages and the broker's answers for them."""

import gc

import pytest
from fake_rabbitmq import Published
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame

from eventmesh.brokers.rabbitmq.amqp.confirms import Confirms, Refused, Returned, Unsent
from eventmesh.brokers.rabbitmq.amqp.frames import publish_target
from eventmesh.brokers.rabbitmq.amqp.properties import encode_properties
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, PayloadInvalid
from eventmesh.model.message import Message

QUEUE = publish_target("", "inbox", mandatory=True)
OTHER = publish_target("", "other", mandatory=True)
EVENTS = publish_target("events", "inbox", mandatory=False)


def properties(id):
    return encode_properties(Message(b"", id, 1.0), durable=True)


def publish(channel, id, target=QUEUE, payload=b"{}"):
    return channel.publish(target, properties(id), payload, id)


async def outcome(future):
    try:
        return await future
    except (Refused, Returned, BrokerUnavailable) as error:
        return type(error)


async def outcomes(*futures):
    return [await outcome(future) for future in futures]


@pytest.mark.parametrize("payload", [b"", b"{}", b"x" * 131_064, b"x" * 131_065, b"y" * 1_000_000])
async def test_a_message_arrives_as_it_was_published(channel, session, payload):
    confirmed = publish(channel, "a", payload=payload)
    published = await session.next(Published)
    assert (published.method.exchange, published.method.routing_key) == ("", "inbox")
    assert published.method.mandatory
    assert published.properties.message_id == "a"
    assert published.body == payload
    session.confirm(1, 1)
    assert await confirmed is None


async def test_large_bodies_are_cut_into_frames_that_were_agreed_on(connection, channel, session):
    connection.tune(10, 4096, 60)
    sizes = []
    take = session.take

    def count_bodies(number, value):
        if isinstance(value, body.ContentBody):
            sizes.append(len(value.value))
        take(number, value)

    session.take = count_bodies
    publish(channel, "a", payload=b"x" * 10_000)
    assert (await session.next(Published)).body == b"x" * 10_000
    assert sizes == [4088, 4088, 1824]


async def test_properties_that_fit_no_frame_are_refused_before_they_are_sent(
    connection, channel, session
):
    room = 4096 - 20
    connection.tune(10, 4096, 60)
    with pytest.raises(PayloadInvalid, match=r"4,077 bytes of headers"):
        channel.publish(QUEUE, bytes(room + 1), b"", "a")
    assert len(channel.confirms) == 0
    sent = encode_properties(Message(b"", "a", 1.0, headers={"x": "y" * 3900}), durable=True)
    confirmed = channel.publish(QUEUE, sent, b"", "a")
    await session.next(Published)
    session.confirm(1, 1)
    await confirmed


async def test_confirms_may_come_in_any_order(channel, session):
    futures = [publish(channel, str(number)) for number in range(1, 6)]
    for tag in (4, 2, 5, 1):
        session.confirm(1, tag)
    assert await outcomes(*futures[:2], *futures[3:]) == [None] * 4
    assert not futures[2].done()
    assert len(channel.confirms) == 1
    session.confirm(1, 3)
    await futures[2]


async def test_one_confirm_may_be_for_many(channel, session):
    futures = [publish(channel, str(number)) for number in range(1, 6)]
    session.confirm(1, 2)
    session.send(1, commands.Basic.Nack(3, True))
    session.confirm(1, 2**63 - 1, multiple=True)
    assert await outcomes(*futures) == [Refused, None, Refused, None, None]
    assert len(channel.confirms) == 0


async def test_a_confirm_for_nothing_that_is_open_is_ignored(channel, session):
    session.confirm(1, 7)
    session.confirm(1, 7, multiple=True)
    confirmed = publish(channel, "a")
    session.confirm(1, 1)
    session.confirm(1, 1)
    await confirmed
    await channel.call(commands.Confirm.Select())


async def test_a_returned_message_is_told_from_its_confirm(channel, session):
    future = publish(channel, "a")
    session.return_message(1, await session.next(Published))
    session.confirm(1, 1)
    assert await outcome(future) is Returned
    await channel.call(commands.Confirm.Select())
    assert len(channel.confirms) == 0


async def test_a_return_is_matched_by_id_and_by_where_it_was_to_go(channel, session):
    """A retry and its outcome, or an event and a command, may have one id and be under way."""
    futures = [
        publish(channel, "a", EVENTS),
        publish(channel, "a", OTHER),
        publish(channel, "b", QUEUE),
        publish(channel, "a", QUEUE),
    ]
    published = [await session.next(Published) for _ in futures]
    session.return_message(1, published[3])
    session.confirm(1, 4, multiple=True)
    assert await outcomes(*futures) == [None, None, None, Returned]


async def test_two_with_one_id_to_one_place_are_both_returned(channel, session):
    futures = [publish(channel, "a"), publish(channel, "a"), publish(channel, "a")]
    published = [await session.next(Published) for _ in futures]
    futures[0].cancel()
    session.return_message(1, published[0])
    session.return_message(1, published[1])
    session.confirm(1, 3, multiple=True)
    assert await outcomes(*futures[1:]) == [Returned, None]


async def test_a_message_is_unanswered_until_the_broker_answers(channel, session):
    """Also if nobody waits any more: the window is what is on the wire."""
    future = publish(channel, "a")
    await session.next(Published)
    future.cancel()
    assert len(channel.confirms) == 1
    session.confirm(1, 1)
    await channel.call(commands.Confirm.Select())
    assert len(channel.confirms) == 0


async def test_each_answer_is_counted_once_also_when_the_channel_ends(channel, session, soon):
    answered = []
    channel.confirms.on_resolved = lambda target: answered.append(1)
    futures = [publish(channel, str(number)) for number in range(5)]
    futures[3].cancel()
    session.confirm(1, 2, multiple=True)
    await futures[1]
    assert len(answered) == 2
    session.close_channel(1)
    await soon(channel.closed)
    assert len(answered) == 5


async def test_a_closed_channel_leaves_nobody_waiting(channel, session, soon, caplog):
    futures = [publish(channel, str(number)) for number in range(3)]
    session.confirm(1, 1)
    session.close_channel(1, 404, "NOT_FOUND - no exchange 'x'")
    assert await outcome(futures[0]) is None
    with pytest.raises(BrokerUnavailable, match=r"404 NOT_FOUND.*may or may not be stored"):
        await soon(futures[1])
    with pytest.raises(BrokerUnavailable, match="no exchange 'x'"):
        publish(channel, "late")
    del futures
    gc.collect()
    assert not caplog.records


@given(st.lists(st.tuples(st.integers(0, 25), st.booleans(), st.booleans()), max_size=30))
async def test_every_message_gets_exactly_one_outcome(answers):
    """By a model: an answer settles what is open of what it names, and the end the rest."""
    confirms, count = Confirms(), [0]

    def answered(target):
        assert target == QUEUE
        count[0] += 1

    confirms.on_resolved = answered
    futures = {tag: confirms.add(QUEUE, str(tag)) for tag in range(1, 21)}
    expected = {}
    for tag, multiple, acked in answers:
        named = [one for one in futures if (one <= tag if multiple else one == tag)]
        for one in named:
            expected.setdefault(one, acked)
        kind = commands.Basic.Ack if acked else commands.Basic.Nack
        payload = frame.marshal(kind(tag, multiple), 1)[7:-1]
        confirms.on_confirm(payload, acked=acked)
        assert len(confirms) == len(futures) - len(expected) == 20 - count[0]
    confirms.end("over")
    assert count[0] == 20
    for tag, future in futures.items():
        error = future.exception()
        match expected.get(tag):
            case True:
                assert error is None
            case False:
                assert isinstance(error, Refused)
            case None:
                assert isinstance(error, BrokerUnavailable)


@pytest.mark.parametrize("kind", ["", "write "])
async def test_a_message_without_a_right_ends_the_channel_and_is_told_from_the_others(
    channel, session, kind
):
    before, refused = publish(channel, "a"), publish(channel, "b", EVENTS)
    after, as_well = publish(channel, "c"), publish(channel, "d", EVENTS)
    for _ in range(4):
        await session.next(Published)
    text = (
        f"ACCESS_REFUSED - {kind}access to exchange 'events' in vhost '/' refused for user 'evil'"
    )
    session.send(1, commands.Channel.Close(403, text, 60, 40))
    with pytest.raises(BrokerUnavailable, match="may or may not be stored"):
        await before
    for denied in (refused, as_well):
        with pytest.raises(AccessDenied, match=r"refused for user 'evil'; .* was not stored. Give"):
            await denied
    # RabbitMQ reads nothing more from a channel that it closes.
    with pytest.raises(Unsent, match="ended: RabbitMQ closed it: 403"):
        await after


@pytest.mark.parametrize(
    ("target", "name"), [(QUEUE, "amq.default"), (EVENTS, "events")], ids=["default", "another"]
)
async def test_the_default_exchange_has_a_name_there(channel, session, target, name):
    refused = publish(channel, "a", target)
    text = f"ACCESS_REFUSED - access to exchange '{name}' in vhost '/' refused for user 'evil'"
    session.send(1, commands.Channel.Close(403, text, 60, 40))
    with pytest.raises(AccessDenied):
        await refused


@pytest.mark.parametrize(
    ("code", "text", "method"),
    [
        (404, "NOT_FOUND - no exchange 'events' in vhost '/'", (60, 40)),
        (403, "ACCESS_REFUSED - access to exchange 'events' in vhost '/' refused", (50, 20)),
        (403, "ACCESS_REFUSED - something else", (60, 40)),
    ],
)
async def test_another_reason_leaves_in_doubt_what_was_stored(channel, session, code, text, method):
    published = publish(channel, "a", EVENTS)
    session.send(1, commands.Channel.Close(code, text, *method))
    with pytest.raises(BrokerUnavailable, match="may or may not be stored"):
        await published
