import asyncio

import pytest

from eventmesh.engine.settlement import DEAD_LETTER_HEADERS, FIRST_FAILURE, dead_letter
from eventmesh.engine.upkeep import dead_letters as module
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters, DeadLetterSummary
from eventmesh.model.errors import (
    BrokerUnavailable,
    DeclarationError,
    FunctionError,
    FunctionNotFound,
    Throttled,
)
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, named, to_queue

FUNCTION = "orders.place"
DEAD = dead_letters(FUNCTION)


@pytest.fixture
def letters(mesh):
    return BrokerDeadLetters(mesh.broker, mesh.clock)


async def add_dead_letters(mesh, *ids, body=b"{}"):
    await mesh.broker.declare([DEAD])
    error = FunctionError("ValueError", "no stock", "Traceback…")
    for id in ids:
        message = Message(body, id, 5.0, headers={"tenant": "acme"}, attempt=3, trigger="http")
        letter = dead_letter(message, FUNCTION, error, "all 3 attempts failed", 9.0)
        await mesh.broker.publish(to_queue(DEAD), letter)


async def ids(letters):
    return [letter.id for letter in await letters.list(FUNCTION)]


async def test_a_dead_letter_tells_where_it_came_from_and_why(mesh, letters):
    await add_dead_letters(mesh, "a", body=b'{"sku": "x"}')

    (letter,) = await letters.list(FUNCTION)

    assert (letter.id, letter.function, letter.payload) == ("a", FUNCTION, b'{"sku": "x"}')
    assert (letter.reason, letter.error_type) == ("all 3 attempts failed", "ValueError")
    assert (letter.error_message, letter.traceback) == ("ValueError: no stock", "Traceback…")
    assert (letter.attempts, letter.trigger, letter.created) == (3, "http", 5.0)
    assert (letter.first_failure, letter.last_failure) == (9.0, 9.0)
    assert letter.headers == {"tenant": "acme"}


@pytest.mark.parametrize("time", ["yesterday", "", "nan", "inf", "-1", "1e300", "9" * 400])
async def test_a_time_that_is_none_keeps_nobody_from_looking(mesh, letters, time):
    await mesh.broker.declare([DEAD])
    message = Message(b"{}", "a", 5.0, headers={FIRST_FAILURE: time})
    letter = dead_letter(message, FUNCTION, None, "old", 9.0)
    await mesh.broker.publish(to_queue(DEAD), letter)

    (letter,) = await letters.list(FUNCTION)

    assert (letter.first_failure, letter.last_failure) == (0.0, 9.0)


async def test_what_may_be_secret_or_long_is_not_in_its_repr(mesh, letters):
    await add_dead_letters(mesh, "a", body=b'"hunter2"')

    assert "hunter2" not in repr(await letters.show(FUNCTION, "a"))


async def test_the_oldest_are_listed_and_stay_in_their_order(mesh, letters):
    await add_dead_letters(mesh, *"abcd")

    assert [letter.id for letter in await letters.list(FUNCTION, 2)] == ["a", "b"]
    assert await ids(letters) == ["a", "b", "c", "d"]


async def test_one_is_shown_by_its_id(mesh, letters):
    await add_dead_letters(mesh, *"abc")

    assert (await letters.show(FUNCTION, "b")).id == "b"
    assert await letters.show(FUNCTION, "x") is None
    assert await ids(letters) == ["a", "b", "c"]


async def test_no_more_are_held_than_may_be(mesh, letters, monkeypatch):
    await add_dead_letters(mesh, *"abcd", body=b"12345")
    monkeypatch.setattr(module, "MAX_LISTED", 3)
    assert await ids(letters) == ["a", "b", "c"]

    monkeypatch.setattr(module, "MAX_LISTED_BYTES", 10)

    assert await ids(letters) == ["a", "b"]
    assert await letters.show(FUNCTION, "d") is None


async def test_a_function_without_any_has_none(letters):
    assert await letters.list(FUNCTION) == []
    assert await letters.show(FUNCTION, "a") is None
    assert await letters.redrive(FUNCTION) == 0
    assert await letters.purge(FUNCTION) == 0


async def test_what_is_redriven_starts_afresh(mesh, letters):
    await mesh.keeps(FUNCTION)
    await add_dead_letters(mesh, "a", body=b"[1]")

    assert await letters.redrive(FUNCTION) == 1

    message = await mesh.kept(FUNCTION)
    assert (message.id, message.body, message.trigger) == ("a", b"[1]", "http")
    assert (message.attempt, message.timestamp) == (1, mesh.clock.now())
    assert message.headers == {"tenant": "acme"}
    assert not DEAD_LETTER_HEADERS & set(message.headers)
    assert await ids(letters) == []


@pytest.mark.parametrize(
    ("which", "count", "left"),
    [
        ({}, 3, []),
        ({"limit": 2}, 2, ["c"]),
        ({"limit": 9}, 3, []),
        ({"limit": 0}, 0, ["a", "b", "c"]),
        ({"id": "b"}, 1, ["a", "c"]),
        ({"id": "x"}, 0, ["a", "b", "c"]),
    ],
)
async def test_all_some_or_one_are_redriven(mesh, letters, which, count, left):
    await mesh.keeps(FUNCTION)
    await add_dead_letters(mesh, *"abc")

    assert await letters.redrive(FUNCTION, **which) == count
    assert await ids(letters) == left


async def test_what_is_dead_lettered_meanwhile_is_not_redriven_for_ever(mesh, letters, monkeypatch):
    await mesh.keeps(FUNCTION)
    await add_dead_letters(mesh, *"ab")
    publish = mesh.broker.publish

    async def store_and_fail(route, message):
        """Store it in the inbox of a function that fails at once."""
        await publish(route, message)
        failed = dead_letter(message, FUNCTION, None, "failed again", 10.0)
        await publish(to_queue(DEAD), failed)

    monkeypatch.setattr(mesh.broker, "publish", store_and_fail)

    assert await letters.redrive(FUNCTION) == 2
    assert await ids(letters) == ["a", "b"]


@pytest.mark.parametrize("which", [{}, {"id": "a"}])
@pytest.mark.parametrize("trouble", [BrokerUnavailable("away"), asyncio.CancelledError()])
async def test_an_interruption_loses_nothing(mesh, letters, monkeypatch, which, trouble):
    await add_dead_letters(mesh, *"ab")

    async def fail(*_, **__):
        raise trouble

    monkeypatch.setattr(mesh.broker, "publish", fail)
    with pytest.raises(type(trouble)):
        await letters.redrive(FUNCTION, **which)

    assert await ids(letters) == ["a", "b"]


async def test_without_an_inbox_they_stay(mesh, letters):
    await add_dead_letters(mesh, "a")

    with pytest.raises(FunctionNotFound):
        await letters.redrive(FUNCTION)

    assert await ids(letters) == ["a"]


async def test_a_listing_that_breaks_off_gives_all_back(mesh, letters, monkeypatch):
    await add_dead_letters(mesh, *"ab")
    get = mesh.broker.get

    async def get_once(queue):
        monkeypatch.setattr(mesh.broker, "get", fail)
        return await get(queue)

    async def fail(_):
        raise BrokerUnavailable("away")

    monkeypatch.setattr(mesh.broker, "get", get_once)
    with pytest.raises(BrokerUnavailable):
        await letters.list(FUNCTION)
    monkeypatch.setattr(mesh.broker, "get", get)

    assert await ids(letters) == ["a", "b"]


async def test_they_are_purged(mesh, letters):
    await add_dead_letters(mesh, *"ab")

    assert await letters.purge(FUNCTION) == 2
    assert await ids(letters) == []


@pytest.mark.parametrize("verb", ["list", "redrive", "purge"])
async def test_a_name_that_no_function_can_have_is_refused(letters, verb):
    with pytest.raises(DeclarationError, match="not a function name"):
        await getattr(letters, verb)("nonsense")


@pytest.fixture
def slow(mesh, monkeypatch):
    """Have others run while a letter is taken."""
    get = mesh.broker.get

    async def get_slowly(queue):
        delivery = await get(queue)
        await asyncio.sleep(0)
        return delivery

    monkeypatch.setattr(mesh.broker, "get", get_slowly)


async def test_who_looks_at_the_same_time_sees_all_of_them(mesh, letters, slow):
    await mesh.keeps(FUNCTION)
    await add_dead_letters(mesh, *"abcd")

    listed, shown, redriven, others, purged = await asyncio.gather(
        letters.list(FUNCTION),
        letters.show(FUNCTION, "d"),
        letters.redrive(FUNCTION, id="b"),
        letters.redrive_oldest(FUNCTION, 2),
        letters.purge(FUNCTION),
    )

    assert [letter.id for letter in listed] == ["a", "b", "c", "d"]
    assert shown.id == "d"
    assert redriven == 1
    assert (others.count, others.remaining) == (2, 1)
    assert purged == 1


@pytest.fixture
async def held(mesh, letters, monkeypatch):
    """Somebody is looking, and does not end."""
    await add_dead_letters(mesh, "a")
    get, begun = mesh.broker.get, asyncio.Event()

    async def hang(queue):
        if queue != DEAD:
            return await get(queue)
        begun.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(mesh.broker, "get", hang)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(letters.list(FUNCTION))
        await begun.wait()
        monkeypatch.setattr(mesh.broker, "get", get)
        yield looking
        looking.cancel()


async def test_nobody_waits_for_them_for_ever(mesh, letters, held):
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(refused(letters))
        await mesh.clock.advance(module.MAX_WAIT - 0.1)
        assert not waiting.done()
        await mesh.clock.advance(0.1)
        assert "dead letters of orders.place" in await waiting


async def test_not_too_many_wait_for_them(mesh, letters, held, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(letters.show(FUNCTION, "a"))
        await mesh.clock.advance(0)
        assert "dead letters of orders.place" in await refused(letters)
        held.cancel()
        assert (await first).id == "a"


async def test_those_of_another_function_are_not_waited_for(letters, held):
    assert await letters.list("orders.other") == []


async def refused(letters):
    with pytest.raises(Throttled) as refusal:
        await letters.list(FUNCTION)
    return str(refusal.value)


async def add_dead_letters_at(mesh, function, *times, header=True):
    queue = dead_letters(function)
    await mesh.broker.declare([queue])
    for time in times:
        message = Message(b"{}", f"{time}", time)
        letter = dead_letter(message, function, None, "old", time + 1 if header else float("nan"))
        await mesh.broker.publish(to_queue(queue), letter)


async def test_a_summary_has_each_function_with_dead_letters(mesh, letters):
    await mesh.broker.declare([dead_letters("orders.cancel"), named("em.dead.not a function")])
    await add_dead_letters_at(mesh, "shop.sell", 7.0)
    await add_dead_letters_at(mesh, "orders.place", 5.0, 3.0, 9.0)

    assert await letters.summarize() == [
        DeadLetterSummary("orders.place", 3, 4.0, 10.0),
        DeadLetterSummary("shop.sell", 1, 8.0, 8.0),
    ]
    assert len(await letters.list("orders.place")) == 3


async def test_a_summary_goes_by_when_it_was_stored_if_no_failure_is_known(mesh, letters):
    await add_dead_letters_at(mesh, "orders.place", 5.0, header=False)
    assert await letters.summarize() == [DeadLetterSummary("orders.place", 1, 5.0, 5.0)]


async def test_the_newest_of_very_many_is_not_known(mesh, letters, monkeypatch):
    monkeypatch.setattr(module, "MAX_LISTED", 2)
    await add_dead_letters_at(mesh, "orders.place", 5.0, 6.0, 7.0)
    assert await letters.summarize() == [DeadLetterSummary("orders.place", 3, 6.0, 0.0)]


async def test_a_broker_that_lists_no_queues_is_asked_about_the_functions_that_are_known(
    mesh, monkeypatch
):
    async def list_queues():
        return None

    async def list_functions():
        return ["orders.place", "orders.cancel"]

    monkeypatch.setattr(mesh.broker, "list_queues", list_queues)
    letters = BrokerDeadLetters(mesh.broker, mesh.clock, list_functions)
    await add_dead_letters_at(mesh, "orders.place", 5.0)
    await add_dead_letters_at(mesh, "shop.sell", 5.0)
    assert [summary.function for summary in await letters.summarize()] == ["orders.place"]
