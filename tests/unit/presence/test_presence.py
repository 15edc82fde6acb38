import logging

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.message import Message
from eventmesh.model.topology import EVENTS, PRESENCE, Binding, inbox, presence_queue, to_presence
from eventmesh.presence import announce, observe
from eventmesh.presence.instance import ALIVE, HERE, INTERVAL, QUERY
from eventmesh.presence.observer import ANSWER_SECONDS, MISSED

BOMB = b"[" + b"[]," * 150_000 + b"[]]"


class Changes:
    """What an observer tells: who was there, each time that changed."""

    def __init__(self):
        self.seen = []

    def __call__(self, instances):
        self.seen.append(set(instances))


def ignore(instances):
    """Nobody is told of changes."""


async def test_who_starts_is_known_with_all_about_it(broker, clock, process):
    async with observe(broker, clock, ignore) as mesh, announce(broker, clock, process):
        await clock.settle()
        assert mesh.instances == {"one": process.instance}


async def test_who_is_ready_has_been_announced(broker, clock, process):
    """Else the one that it replaces may leave before anybody knows of it."""
    queue = presence_queue("me", "heard")
    await broker.declare([queue], [Binding(queue, HERE, PRESENCE)])
    async with announce(broker, clock, process):
        assert await broker.depth(queue) == 1


async def test_who_was_there_before_answers(broker, clock, process, another):
    async with announce(broker, clock, process), announce(broker, clock, another):
        await clock.settle()
        changes = Changes()
        async with observe(broker, clock, changes) as mesh:
            await clock.settle()
            assert set(mesh.instances) == {"one", "two"}
    assert changes.seen[-1] == {"one", "two"}


async def test_what_runs_is_told_from_time_to_time_and_is_no_change(broker, clock, process):
    changes = Changes()
    async with observe(broker, clock, changes) as mesh, announce(broker, clock, process):
        process.tell(running={"shop.sell": 3}, waiting={"shop.sell": 2})
        await clock.advance(INTERVAL)
        assert mesh.instances["one"].running == {"shop.sell": 3}
        assert mesh.instances["one"].waiting == {"shop.sell": 2}
    assert changes.seen == [{"one"}, set()]


async def test_who_stops_is_forgotten_at_once(broker, clock, process, another):
    async with observe(broker, clock, ignore) as mesh, announce(broker, clock, another):
        async with announce(broker, clock, process):
            await clock.settle()
            assert set(mesh.instances) == {"one", "two"}
        await clock.settle()
        assert set(mesh.instances) == {"two"}


async def test_who_is_silent_for_too_long_is_forgotten(broker, clock, process):
    changes = Changes()
    async with observe(broker, clock, changes) as mesh:
        # It was killed: nobody said good-bye.
        await broker.publish(to_presence(HERE), told(process, clock))
        await clock.advance(INTERVAL * MISSED)
        assert set(mesh.instances) == {"one"}
        await clock.advance(INTERVAL)
        assert not mesh.instances
    assert changes.seen == [{"one"}, set()]


async def test_nobody_is_forgotten_because_the_broker_was_away(broker, clock, process):
    async with observe(broker, clock, ignore) as mesh, announce(broker, clock, process):
        await clock.settle()
        broker.away = True
        await clock.advance(INTERVAL * 100)
        assert set(mesh.instances) == {"one"}
        broker.away = False
        await clock.advance(INTERVAL * 100)
        assert set(mesh.instances) == {"one"}


async def test_who_started_while_nobody_could_hear_is_asked(broker, clock, process):
    async with observe(broker, clock, ignore) as mesh:
        await clock.settle()
        broker.away = True
        async with announce(broker, clock, process):
            await clock.settle()
            broker.away = False
            await clock.advance(INTERVAL * 2)
            assert mesh.instances == {"one": process.instance}


async def test_an_observer_that_could_not_ask_does_so_later(broker, clock, process):
    async with announce(broker, clock, process):
        await clock.settle()
        broker.away = True
        async with observe(broker, clock, ignore) as mesh:
            await clock.settle()
            broker.away = False
            await clock.advance(INTERVAL * 2)
            assert set(mesh.instances) == {"one"}


async def test_all_are_known_when_those_who_were_asked_had_time_to_answer(broker, clock, process):
    async with announce(broker, clock, process):
        broker.away = True
        async with observe(broker, clock, ignore) as mesh:
            await clock.advance(ANSWER_SECONDS * 10)
            assert not mesh.complete.is_set()
            broker.away = False
            await clock.advance(ANSWER_SECONDS)
            assert not mesh.complete.is_set()
            await clock.advance(ANSWER_SECONDS)
            assert mesh.complete.is_set()
            assert set(mesh.instances) == {"one"}


async def test_what_cannot_be_read_is_logged_and_no_more(broker, clock, process, caplog):
    async with observe(broker, clock, ignore) as mesh, announce(broker, clock, process):
        for word in (HERE, ALIVE):
            for body in (b"{}", BOMB, b"[" * 100_000):
                await broker.publish(to_presence(word), Message(body, "x", clock.now(), type=word))
        await clock.settle()
        assert set(mesh.instances) == {"one"}
    assert caplog.text.count("is not valid: ") == 5  # One of the six is said twice.
    assert "300,003 JSON values" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def test_subscribers_to_all_events_hear_nothing_of_it(broker, clock, process):
    queue = inbox("shop.audit")
    await broker.declare([queue], [Binding(queue, "#", EVENTS)])
    async with observe(broker, clock, ignore), announce(broker, clock, process):
        await clock.advance(INTERVAL)
    assert await broker.depth(queue) == 0


async def test_nothing_of_it_stays_on_the_broker(clock, process):
    async with MemoryBroker(clock) as broker:
        async with announce(broker, clock, process), observe(broker, clock, ignore):
            await clock.settle()
        assert not broker.statistics()


async def test_an_answer_reaches_whoever_asks(broker, clock, process):
    """What another implementation of an observer would see."""
    queue = presence_queue("me", "heard")
    await broker.declare([queue], [Binding(queue, "*", PRESENCE)])
    async with announce(broker, clock, process):
        await clock.settle()
        await broker.publish(to_presence(QUERY), Message(b"{}", "x", clock.now(), type=QUERY))
        await clock.settle()
    words = []
    while (delivery := await broker.get(queue)) is not None:
        words.append(delivery.message.type)
        delivery.ack()
    assert words == ["here", "query", "here", "gone"]


def told(process, clock):
    from eventmesh.presence.instance import INSTANCES, presence_message

    return presence_message(HERE, INSTANCES.dump_json(process.instance), clock.now())
