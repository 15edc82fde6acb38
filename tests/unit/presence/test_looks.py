"""What processes tell of their runs, to whom, and what of it is believed."""

from dataclasses import replace

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.runs import Question, Run, Sight
from eventmesh.model.topology import to_presence
from eventmesh.presence import announce, look_into, observe
from eventmesh.presence.announcer import MAX_QUESTIONS
from eventmesh.presence.instance import INTERVAL, LOOK, SEEN, presence_message
from eventmesh.presence.looks import dump_answer, read_question

RUN = Run(1, "4fd0", "shop.sell", 7.0, 1, "http", "", "4fd0", error="secret", payload="[1]")
GATEWAYS = ("gateway",)


class Told:
    """What a process is asked, and answers."""

    def __init__(self, id="one"):
        self.id = id
        self.questions = []

    def __call__(self, question):
        self.questions.append(question)
        return Sight(self.id, (RUN,))


@pytest.fixture
def told():
    return Told()


async def test_who_asks_gets_the_answers_of_all(broker, clock, process, another, told):
    sights = []
    async with (
        announce(broker, clock, process, told),
        announce(broker, clock, another, Told("two")),
        look_into(broker, clock, sights.append) as looker,
        look_into(broker, clock, sights.clear),
    ):
        await looker.ask(find="4fd0", seconds=2.0, most=7)
        await clock.settle()
    assert sorted(sight.instance for sight in sights) == ["one", "two"]
    assert sights[0].runs == (RUN,)
    assert told.questions == [Question(looker.id, "4fd0", 2.0, 7)]


async def test_nobody_tells_anything_while_nobody_asks(broker, clock, process, told):
    async with announce(broker, clock, process, told):
        await clock.advance(60)
    assert told.questions == []


async def test_who_is_asked_all_the_time_sends_heartbeats_all_the_same(
    broker, clock, process, told
):
    async with (
        announce(broker, clock, process, told),
        observe(broker, clock, lambda _: None) as observer,
        look_into(broker, clock, lambda _: None) as looker,
    ):
        await clock.settle()
        process.tell(running={"shop.sell": 3})
        for _ in range(int(2 * INTERVAL)):
            await looker.ask()
            await clock.advance(1.0)
        assert observer.instances["one"].running == {"shop.sell": 3}
    assert len(told.questions) == 2 * INTERVAL


async def test_of_many_questions_the_latest_are_answered(clock, process, told):
    async with MemoryBroker(clock) as broker, announce(broker, clock, process, told):
        for number in range(3 * MAX_QUESTIONS):
            body = b'{"asker":"%032x"}' % number
            await broker.publish(to_presence(LOOK), presence_message(LOOK, body, clock.now()))
        await clock.settle()
    assert 0 < len(told.questions) <= 3 * MAX_QUESTIONS
    assert told.questions[-1].asker == f"{3 * MAX_QUESTIONS - 1:032x}"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"asker":"#"}', b'{"asker":"x"}', b'{"asker":"%s"}' % (b"0" * 5000)]
)
def test_what_is_no_question_is_not_answered(clock, body):
    assert read_question(presence_message(LOOK, body, clock.now()), None) is None


def test_where_services_have_users_gateways_alone_may_ask(clock):
    message = presence_message(LOOK, b'{"asker":"%032x"}' % 1, clock.now())
    assert read_question(message, None) is not None
    assert read_question(message, GATEWAYS) is None
    assert read_question(replace(message, sender="shop"), GATEWAYS) is None
    assert read_question(replace(message, sender="gateway"), GATEWAYS) is not None


def test_there_it_is_not_told_what_was_passed_or_raised():
    answer = dump_answer(Sight("one", (RUN,), (RUN,)), private=True)
    assert b"4fd0" in answer
    assert b"secret" not in answer
    assert b"[1]" not in answer


@pytest.mark.parametrize(("sender", "believed"), [("shop", True), ("audit", False), ("", False)])
async def test_a_service_speaks_for_itself(broker, clock, sender, believed):
    sights = []
    async with look_into(broker, clock, sights.append, GATEWAYS) as looker:
        body = dump_answer(Sight("one", (RUN,)), private=False)
        message = presence_message(SEEN, body, clock.now())
        key = f"{SEEN}.{looker.id}"
        await broker.publish(to_presence(key), replace(message, sender=sender))
        await clock.settle()
    assert [sight.instance for sight in sights] == (["shop/one"] if believed else [])
    assert looker.refused == (not believed)


@pytest.mark.parametrize("body", [b"{}", b"[" * 10_000, b'{"instance":1}'])
async def test_what_is_no_answer_is_dropped(broker, clock, body):
    sights = []
    async with look_into(broker, clock, sights.append) as looker:
        message = presence_message(SEEN, body, clock.now())
        await broker.publish(to_presence(f"{SEEN}.{looker.id}"), message)
        await clock.settle()
    assert (sights, looker.refused) == ([], 1)
