import asyncio

import pytest

from eventmesh.engine.upkeep.leftovers import Fate, Removed
from eventmesh.leftovers.index import list_service, read_services
from eventmesh.leftovers.prune import MOVED_AT_ONCE, Pruner
from eventmesh.leftovers.record import FunctionRecord, Record, dump_record, load_record
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeclarationError,
    FunctionNotFound,
    Throttled,
)
from eventmesh.model.message import Message
from eventmesh.model.topology import (
    Binding,
    Queue,
    dead_letters,
    inbox,
    lease_name,
    named,
    record_name,
    to_queue,
    to_subscribers,
)
from eventmesh.presence import Instance

F, G = "shop.f", "shop.g"


class Yard:
    """A mesh in which `shop.g` was removed and `shop.f` runs, and what a test does in it."""

    def __init__(self, broker, inspector, clock):
        self.broker = broker
        self.clock = clock
        self.instances = []
        self.pruner = Pruner(broker, inspector, clock, lambda: self.instances)
        self.find, self.remove = self.pruner.find, self.pruner.remove

    def run(self, *functions):
        names = [{"name": name, "triggers": [], "limits": {"max_pending": 1}} for name in functions]
        services = {name.partition(".")[0]: "" for name in functions}
        self.instances.append(
            Instance(f"{len(self.instances)}", "host", 7, self.clock.now(), services, names)
        )

    async def record(self, **functions):
        self.functions = {f"shop.{name}": known for name, known in functions.items()}
        async with self.broker.lease(record_name("shop")) as lease:
            await lease.save(dump_record(Record(self.functions)))
        await list_service(self.broker, self.clock, "shop")
        for name, known in self.functions.items():
            bindings = [Binding(inbox(name), pattern) for pattern in known.patterns]
            await self.broker.declare([inbox(name), dead_letters(name)], bindings)

    async def recorded(self):
        async with self.broker.lease(record_name("shop")) as lease:
            return load_record("shop", lease.state).functions

    async def store(self, queue, *ids):
        for id in ids:
            await self.broker.publish(to_queue(queue), Message(b"1", id, self.clock.now()))

    async def ids(self, queue):
        found = []
        while (delivery := await self.broker.get(queue)) is not None:
            delivery.ack()
            found.append(delivery.message.id)
        return found


@pytest.fixture
async def yard(broker, inspector, clock):
    yard = Yard(broker, inspector, clock)
    gone = clock.now() - 3600
    await yard.record(
        f=FunctionRecord({"order.placed": 0.0}),
        g=FunctionRecord({"order.*": gone}, unbound={"order.#": gone}, gone=gone),
    )
    yard.run(F)
    return yard


async def test_what_is_left_is_found_by_any_name(yard):
    await yard.store(inbox(G), "1", "2")
    await yard.store(dead_letters(G), "3")
    for name in ("", "shop", G):
        (found,) = await yard.find(name)
        assert (found.function, found.waiting, found.dead) == (G, 2, 1)
        assert found.patterns == ("order.*",)


async def test_a_function_that_runs_is_refused(yard):
    with pytest.raises(DeclarationError, match="a process has it"):
        await yard.find(F)
    with pytest.raises(DeclarationError, match="a process has it"):
        await yard.remove(F, Fate(drop=True))
    yard.run(F)
    with pytest.raises(DeclarationError, match="2 processes have it"):
        await yard.find(F)


@pytest.mark.parametrize("gone", [0.0, 30.0])
async def test_so_is_one_that_ran_a_moment_ago(yard, clock, gone):
    await yard.record(g=FunctionRecord(gone=gone and clock.now() - gone))
    assert await yard.find("shop") == []
    with pytest.raises(DeclarationError, match="a moment ago"):
        await yard.find(G)
    with pytest.raises(DeclarationError, match="a moment ago"):
        await yard.remove(G, Fate())


async def test_a_service_that_may_only_be_stopped_is_to_be_named(yard):
    yard.instances.clear()
    assert await yard.find() == []
    assert [found.function for found in await yard.find("shop")] == [F, G]


async def test_what_never_was_is_not_found(yard):
    for name in ("shop.x", "mail", "mail.send"):
        with pytest.raises(FunctionNotFound):
            await yard.find(name)
    with pytest.raises(DeclarationError):
        await yard.find("a b")


async def test_what_versions_without_a_record_left_is_found_by_its_name(yard, broker, inspector):
    await broker.declare([inbox("mail.send")])
    await yard.store(inbox("mail.send"), "1")
    (found,) = await yard.find("mail.send")
    assert (found.waiting, found.since) == (1, 0.0)
    assert await yard.remove("mail.send", Fate(drop=True)) == Removed(0, 1, 0, 0)
    assert await inspector.describe(named(record_name("mail"))) is None


async def test_it_is_removed_with_its_bindings(yard, broker):
    assert await yard.remove(G, Fate()) == Removed(0, 0, 0, 0)
    assert not {inbox(G).name, dead_letters(G).name} & {*await broker.list_queues()}
    assert (await yard.recorded()).keys() == {F}
    assert await yard.find() == []


async def test_nothing_is_done_while_it_is_not_said_what_becomes_of_what_waits(yard, broker):
    await yard.store(inbox(G), "1")
    with pytest.raises(DeclarationError, match="1 of its invocations wait"):
        await yard.remove(G, Fate())
    assert await yard.recorded() == yard.functions
    await broker.publish(to_subscribers("order.x"), Message(b"1", "2", 0.0))
    assert await yard.ids(inbox(G)) == ["1", "2"]


@pytest.mark.parametrize(
    ("sender", "believed"),
    [("evil", ("", "")), ("orders", ("orders.place", "")), ("gateway", ("orders.place", "ada"))],
)
async def test_what_is_moved_says_no_more_than_its_sender_may(
    yard, broker, inspector, clock, sender, believed
):
    pruner = Pruner(broker, inspector, clock, lambda: yard.instances, {"gateway"})
    message = Message(b"1", "1", 0.0, caller="orders.place", principal="ada", sender=sender)
    await broker.publish(to_queue(inbox(G)), message)
    assert (await pruner.remove(G, Fate(move_to=F))).moved == 1
    moved = (await broker.get(inbox(F))).message
    assert (moved.caller, moved.principal) == believed


async def test_what_waits_is_moved(yard):
    ids = [f"{number}" for number in range(3 * MOVED_AT_ONCE + 1)]
    await yard.store(inbox(G), *ids)
    assert await yard.remove(G, Fate(move_to=F)) == Removed(len(ids), 0, 0, 0)
    assert sorted(await yard.ids(inbox(F))) == sorted(ids)


async def test_or_dropped(yard):
    await yard.store(inbox(G), "1", "2")
    assert await yard.remove(G, Fate(drop=True)) == Removed(0, 2, 0, 0)
    assert await yard.ids(inbox(F)) == []


@pytest.mark.parametrize("to", ["shop.x", G])
async def test_where_to_must_be_there(yard, to):
    await yard.store(inbox(G), "1")
    with pytest.raises((FunctionNotFound, DeclarationError)):
        await yard.remove(G, Fate(move_to=to))
    assert await yard.recorded() == yard.functions
    assert await yard.ids(inbox(G)) == ["1"]


async def test_an_inbox_that_takes_no_more_loses_nothing(yard, broker):
    await broker.declare([Queue(inbox(F).name, "inbox", max_length=2)])
    ids = [f"{number}" for number in range(5)]
    await yard.store(inbox(G), *ids)
    with pytest.raises(Throttled):
        await yard.remove(G, Fate(move_to=F))
    assert await broker.depth(inbox(G)) == 3
    assert sorted(await yard.ids(inbox(F)) + await yard.ids(inbox(G))) == ids
    assert G in await yard.recorded()


@pytest.mark.parametrize("after", range(6))
async def test_an_interruption_anywhere_loses_nothing(yard, broker, monkeypatch, after):
    ids = [f"{number}" for number in range(4)]
    await yard.store(inbox(G), *ids)
    await yard.store(dead_letters(G), "dead")
    calls = 0

    def interrupted(method):
        async def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls > after:
                raise BrokerUnavailable("cut off")
            return await method(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("unbind", "publish", "delete"):
            patch.setattr(broker, name, interrupted(getattr(broker, name)))
        with pytest.raises(BrokerUnavailable):
            await yard.remove(G, Fate(move_to=F))
    assert await broker.depth(inbox(F)) + await broker.depth(inbox(G)) >= len(ids)

    (found,) = await yard.find()  # It is still known, and can be removed now.
    assert found.function == G
    await yard.remove(G, Fate(move_to=F))
    assert set(await yard.ids(inbox(F))) == set(ids)
    assert await yard.ids(dead_letters(G)) == ["dead"]


async def test_dead_letters_stay_unless_told(yard, broker):
    await yard.store(dead_letters(G), "1", "2")
    assert await yard.remove(G, Fate()) == Removed(0, 0, 0, 2)
    (found,) = await yard.find()
    assert (found.waiting, found.dead, found.patterns) == (None, 2, ())
    assert found.since == yard.functions[G].gone
    assert await yard.remove(G, Fate(dead_letters=True)) == Removed(0, 0, 2, 0)
    assert dead_letters(G).name not in await broker.list_queues()
    assert await yard.find() == []


async def test_a_queue_that_is_consumed_is_left_alone(yard, broker):
    """By a process that is not heard."""
    async with broker.consume(inbox(G), lambda delivery: None, prefetch=1):
        with pytest.raises(DeclarationError, match="a consumer"):
            await yard.remove(G, Fate(drop=True))
    assert await yard.recorded() == yard.functions


async def test_the_last_function_takes_the_record_and_the_lease_of_timers_along(
    yard, broker, inspector, clock
):
    async with broker.lease(lease_name("shop")) as lease:
        await lease.save(b"1")
    yard.instances.clear()
    for name in (F, G):
        assert await read_services(broker, inspector, clock) == {"shop"}
        await yard.remove(name, Fate(drop=True))
    assert await read_services(broker, inspector, clock) == set()
    assert not {record_name("shop"), lease_name("shop")} & broker.leased


async def test_a_process_that_starts_meanwhile_is_bound_again(yard, shop, broker, clock):
    yard.instances.clear()

    async def start(queue):
        raise AccessDenied("a consumer came")

    broker.delete = start
    with pytest.raises(AccessDenied):
        await yard.remove(F, Fate())
    async with shop.process(f=("order.placed",)):
        pass
    assert (await yard.recorded())[F].patterns == {"order.placed": 0.0}
    assert "f" in await shop.get("order.placed")


async def test_a_record_that_is_in_use_is_waited_for_no_longer_than_that(yard, broker, clock):
    async with broker.lease(record_name("shop")), asyncio.TaskGroup() as tasks:
        removing = tasks.create_task(_unavailable(yard))
        await clock.advance(31)
        assert await removing


async def _unavailable(yard):
    try:
        await yard.remove(G, Fate())
    except BrokerUnavailable as error:
        return "in use" in str(error)
