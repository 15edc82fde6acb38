"""Looking for queues that may be away, on a connection that does what a test tells it to."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.brokers.rabbitmq.management import queue_lookup
from eventmesh.brokers.rabbitmq.management.queue_lookup import QueueLookup

DEADLINE = 60.0
AWAY = "NOT_FOUND - home node 'a@b' of durable queue 'away' in vhost '/' is down or inaccessible"


class Connection:
    """Answers for queues: `answers` has errors by name, and who is `silent` gets no answer."""

    def __init__(self):
        self.is_open = True
        self.asked = []
        self.answers = {}
        self.silent = set()

    @asynccontextmanager
    async def channel(self):
        yield self

    async def queue_declare(self, name, *, passive):
        assert passive
        self.asked.append(name)
        if name in self.silent:
            await asyncio.get_running_loop().create_future()
        if name in self.answers:
            raise ChannelNotFoundEntity(self.answers[name])


@pytest.fixture
def connection():
    return Connection()


@pytest.fixture
def lookup(connection):
    return QueueLookup(connection)


async def test_a_queue_that_is_there_or_unknown_is_not_away(lookup, connection):
    connection.answers["unknown"] = "NOT_FOUND - no queue 'unknown' in vhost '/'"
    await lookup.check("there", DEADLINE)
    await lookup.check("unknown", DEADLINE)


async def test_one_whose_node_is_down_is(lookup, connection):
    connection.answers["away"] = AWAY
    for _ in range(2):
        with pytest.raises(QueueAway, match="home node"):
            await lookup.check("away", DEADLINE)
    assert connection.asked == ["away"]  # What is known holds for a moment.


async def test_one_for_which_nobody_answers_is_too(lookup, connection, monkeypatch):
    monkeypatch.setattr(queue_lookup, "AWAY_SECONDS", 0.0)
    connection.silent.add("away")
    with pytest.raises(QueueAway):
        await lookup.check("away", DEADLINE)


async def test_it_holds_up_nobody_who_asks_for_another(lookup, connection, tasks):
    connection.silent.add("away")
    waiting = [tasks.create_task(lookup.check("away", DEADLINE)) for _ in range(3)]
    await asyncio.sleep(0)
    await lookup.check("there", DEADLINE)
    assert connection.asked == ["away", "there"]
    for each in waiting:
        each.cancel()


async def test_who_has_no_time_is_told_nothing(lookup, connection):
    connection.silent.add("away")
    await lookup.check("away", 0.0)


async def test_what_is_known_has_a_bound(lookup, connection, monkeypatch):
    monkeypatch.setattr(queue_lookup, "MAX_KNOWN", 2)
    for name in ("a", "b", "c", "a"):
        await lookup.check(name, DEADLINE)
    assert connection.asked == ["a", "b", "c", "a"]
