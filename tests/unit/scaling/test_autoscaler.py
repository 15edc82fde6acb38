from contextlib import asynccontextmanager

import pytest
from fake_cluster import FakeCluster

from eventmesh.clusters.abc import Canary
from eventmesh.model.errors import SettingsError
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, to_function
from eventmesh.presence import announce, observe
from eventmesh.presence.instance import INTERVAL
from eventmesh.scaling.autoscaler import Autoscaler, Options
from eventmesh.scaling.reader import MeshReader
from eventmesh.scaling.report import Report
from eventmesh.scaling.rule import Rule
from eventmesh.scaling.run import Choices, build_rules
from eventmesh.scaling.stand_ins import stand_in_for

RULE = Rule(0, 5, calm=20.0)


@pytest.fixture
async def observer(broker, clock):
    async with observe(broker, clock, lambda _: None) as observer:
        await clock.advance(INTERVAL)
        yield observer


@pytest.fixture
def scaling(broker, observer, clock):
    """Opens an autoscaler of a cluster, which looks when the test says so."""

    @asynccontextmanager
    async def start(cluster, **options):
        async with stand_in_for(broker, observer, clock) as stand_ins:
            report = Report(dry_run=options.get("dry_run", False))
            autoscaler = Autoscaler(
                MeshReader(broker, observer, clock),
                cluster,
                stand_ins,
                find_rule=lambda service: RULE if service.name == "shop" else None,
                clock=clock,
                report=report,
                options=Options(**options),
            )
            autoscaler.report = report
            yield autoscaler

    return start


async def send(broker, count):
    await broker.declare([inbox("shop.sell")])
    for number in range(count):
        await broker.publish(to_function("shop.sell"), Message(b"{}", str(number), 0.0))


async def look(autoscaler, clock, seconds=0.0):
    """Look every two seconds for so long, and once at the end."""
    for _ in range(int(seconds // 2)):
        await autoscaler.look()
        await clock.advance(2.0)
    await autoscaler.look()
    await clock.settle()


def stand_ins(observer):
    return [each for each in observer.instances.values() if each.stand_in]


async def test_a_backlog_starts_replicas_at_once(scaling, broker, clock, process):
    cluster = FakeCluster(shop=1, rabbitmq=1)
    async with scaling(cluster) as autoscaler, announce(broker, clock, process):
        await clock.settle()
        await send(broker, 6)
        await look(autoscaler, clock)
    assert cluster.told == [("scale", "shop", 4, ["host-one"])]


async def test_the_last_one_goes_after_the_window_once_something_stands_in(
    scaling, broker, observer, clock, process
):
    cluster = FakeCluster(shop=1)
    async with scaling(cluster) as autoscaler:
        async with announce(broker, clock, process):
            await clock.settle()
            await look(autoscaler, clock, 18)
            assert not cluster.told
            assert not stand_ins(observer)
            await look(autoscaler, clock, 2)
            assert not cluster.told
            (standing,) = stand_ins(observer)
            assert standing.endpoints == process.instance.endpoints
            await look(autoscaler, clock, 2)
            assert cluster.told == [("scale", "shop", 0, ["host-one"])]
        await look(autoscaler, clock, 10)
        assert len(stand_ins(observer)) == 1
        await send(broker, 1)
        await look(autoscaler, clock)
        assert cluster.told[1:] == [("scale", "shop", 1, [])]
        async with announce(broker, clock, process):
            await look(autoscaler, clock, 2)
            assert not stand_ins(observer)


async def test_one_that_keeps_a_timer_stays(scaling, broker, clock, process):
    cluster = FakeCluster(shop=1)
    process.tell(kept_by="the timer of shop.count")
    async with scaling(cluster) as autoscaler, announce(broker, clock, process):
        await look(autoscaler, clock, 60)
    assert not cluster.told


async def test_an_unknown_service_is_started_to_tell_what_it_serves(scaling, clock):
    cluster = FakeCluster(shop=0)
    async with scaling(cluster) as autoscaler:
        await look(autoscaler, clock, 60)
    assert cluster.told == [("scale", "shop", 1, [])]


async def test_nothing_is_scaled_while_the_broker_is_away(scaling, broker, clock, process):
    cluster = FakeCluster(shop=3)
    async with scaling(cluster) as autoscaler, announce(broker, clock, process):
        await clock.settle()
        await look(autoscaler, clock)
        broker.away = True
        await look(autoscaler, clock, 60)
        assert not cluster.told
        readiness = await autoscaler.report.readiness()
        assert (readiness.ok, readiness.checks["broker"]) == (False, "the broker is away")
        broker.away = False
        await clock.advance(INTERVAL * 2)
        # The calm window begins anew.
        await look(autoscaler, clock, 10)
        assert not cluster.told
        assert (await autoscaler.report.readiness()).ok


async def test_an_engine_that_is_away_is_asked_less_often_and_again(
    scaling, broker, clock, process
):
    cluster = FakeCluster(shop=1)
    async with scaling(cluster) as autoscaler, announce(broker, clock, process):
        cluster.away = True
        await look(autoscaler, clock, 10)
        assert not (await autoscaler.report.readiness()).ok
        cluster.away = False
        await send(broker, 6)
        await look(autoscaler, clock)
        assert cluster.told
        assert (await autoscaler.report.readiness()).ok


async def test_a_dry_run_changes_nothing(scaling, broker, observer, clock, process):
    cluster = FakeCluster(shop=3)
    async with scaling(cluster, dry_run=True) as autoscaler, announce(broker, clock, process):
        await look(autoscaler, clock, 60)
        await send(broker, 100)
        await look(autoscaler, clock)
    assert not cluster.told
    assert not stand_ins(observer)


async def test_nothing_goes_in_while_a_new_version_is_tried(scaling, broker, clock, process):
    cluster = FakeCluster(shop=3)
    cluster.change("shop", canary=Canary("shop:2", "shop:2", 1, 1))
    async with scaling(cluster) as autoscaler, announce(broker, clock, process):
        await look(autoscaler, clock, 60)
        assert not cluster.told
        cluster.change("shop", canary=None)
        await look(autoscaler, clock, 4)
        assert cluster.told


def choices(*services):
    return Choices(services, "auto", "shop", 1.0, 300.0, 0.8, 2.0, dry_run=False)


async def test_rules_come_from_the_command_or_from_labels():
    service = FakeCluster(shop=1).services_now["shop"]
    assert build_rules(choices())(service) is None
    assert build_rules(choices("shop=1..4"))(service) == Rule(1, 4)
    assert build_rules(choices("bank=1..4"))(service) is None
    labels = {"autoscale": "0..7", "autoscale.latency": "5s", "autoscale.calm": "1m"}
    labelled = type(service)("shop", "", 1, 1, labels=labels)
    assert build_rules(choices())(labelled) == Rule(0, 7, latency=5.0, calm=60.0)


@pytest.mark.parametrize("wrong", ["shop", "shop=3", "shop=5..2", "shop=a..b", "a b=1..2"])
def test_a_range_that_cannot_be_is_refused(wrong):
    with pytest.raises(SettingsError):
        build_rules(choices(wrong))


@pytest.mark.parametrize("label", ["latency", "calm"])
def test_a_label_that_cannot_be_read_is_refused(label):
    service = FakeCluster(shop=1).services_now["shop"]
    labels = {"autoscale": "0..7", f"autoscale.{label}": "soon"}
    with pytest.raises(SettingsError, match=rf"eventmesh\.autoscale\.{label}"):
        build_rules(choices())(type(service)("shop", "", 1, 1, labels=labels))
