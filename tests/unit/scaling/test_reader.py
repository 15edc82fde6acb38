import pytest

from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, to_function
from eventmesh.model.work import Work
from eventmesh.presence import announce, observe
from eventmesh.presence.instance import INTERVAL
from eventmesh.presence.observer import ANSWER_SECONDS
from eventmesh.scaling.reader import BLIND_SECONDS, MeshReader
from eventmesh.scaling.rule import Demand


def ignore(instances):
    """Nobody is told of changes."""


@pytest.fixture
async def observer(broker, clock):
    async with observe(broker, clock, ignore) as observer:
        yield observer


@pytest.fixture
def reader(broker, observer, clock):
    return MeshReader(broker, observer, clock)


async def test_nothing_is_read_before_all_processes_were_asked(reader, clock):
    with pytest.raises(BrokerUnavailable):
        await reader.read(["shop"])
    await clock.advance(ANSWER_SECONDS)
    assert await reader.read(["shop"]) == {}


async def test_what_waits_and_what_runs_is_asked_for(reader, broker, clock, process, another):
    async with announce(broker, clock, process), announce(broker, clock, another):
        process.tell(running={"shop.sell": 2}, waiting={"shop.sell": 3})
        await broker.declare([inbox("shop.sell")])
        for number in range(4):
            await broker.publish(to_function("shop.sell"), Message(b"{}", str(number), 0.0))
        await clock.advance(INTERVAL)
        found = await reader.read(["shop", "other"])
    assert set(found) == {"shop"}
    assert found["shop"].demands == (Demand("shop.sell", waiting=7, running=2, slots=2),)
    assert (found["shop"].running, found["shop"].idle) == (2, {"host-two"})


async def test_rates_and_means_are_those_of_all_processes_together(
    reader, broker, clock, process, another
):
    async with announce(broker, clock, process), announce(broker, clock, another):
        process.tell(work={"shop.sell": Work(1000, 0, 1000, 5000.0)})
        await clock.advance(INTERVAL)
        await reader.read(["shop"])
        process.tell(work={"shop.sell": Work(1010, 0, 1010, 5004.0)})
        another.tell(work={"shop.sell": Work(10, 0, 10, 2.0)})
        await clock.advance(INTERVAL)
        (demand,) = (await reader.read(["shop"]))["shop"].demands
    assert demand.arriving == pytest.approx(20 / INTERVAL)
    assert demand.duration == pytest.approx(6.0 / 20)


async def test_a_service_without_a_process_is_still_known(reader, broker, clock, process):
    async with announce(broker, clock, process):
        await clock.advance(INTERVAL)
        await reader.read(["shop"])
    await clock.advance(INTERVAL)
    found = (await reader.read(["shop"]))["shop"]
    assert found.running == 0
    assert found.demands == (Demand("shop.sell", slots=2),)


async def test_worker_processes_of_a_replica_have_slots_each(
    reader, broker, clock, process, another
):
    another.tell(host="host-one")
    async with announce(broker, clock, process), announce(broker, clock, another):
        await clock.advance(INTERVAL)
        found = (await reader.read(["shop"]))["shop"]
    assert (found.running, found.demands[0].slots) == (1, 4)


async def test_limits_that_make_no_sense_do_not_count(reader, broker, clock, process):
    limits = {"max_pending": 9, "concurrency": -3, "reserved_concurrency": "all"}
    process.tell(functions=[{"name": "shop.sell", "triggers": [], "limits": limits}])
    async with announce(broker, clock, process):
        await clock.advance(INTERVAL)
        (demand,) = (await reader.read(["shop"]))["shop"].demands
    assert (demand.slots, demand.reserved) == (1, None)


async def test_after_the_broker_was_away_figures_are_awaited(reader, broker, clock, process):
    async with announce(broker, clock, process):
        await clock.advance(INTERVAL)
        broker.away = True
        with pytest.raises(BrokerUnavailable):
            await reader.read(["shop"])
        broker.away = False
        with pytest.raises(BrokerUnavailable):
            await reader.read(["shop"])
        await clock.advance(BLIND_SECONDS)
        assert "shop" in await reader.read(["shop"])


async def test_a_process_that_only_stands_in_does_not_count(reader, broker, clock, process):
    process.tell(stand_in=True)
    async with announce(broker, clock, process):
        await clock.advance(INTERVAL)
        assert await reader.read(["shop"]) == {}
