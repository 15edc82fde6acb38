import asyncio
from dataclasses import replace

import pytest
from fake_cluster import FakeCluster

from eventmesh.clusters.abc import ClusterError, ClusterUnavailable, Update
from eventmesh.model.errors import SettingsError
from eventmesh.model.work import Work
from eventmesh.presence import Instance
from eventmesh.rollout.rollout import (
    AWAY_SECONDS,
    LOOK_SECONDS,
    Plan,
    RolledBack,
    Rollout,
    describe_state,
    find_service,
    roll_back,
)
from eventmesh.rollout.rule import Bounds

BOUNDS = Bounds(bake=20.0, max_errors=0.05, least=10)


class Mesh:
    """What the processes of the new version announce."""

    def __init__(self, clock):
        self._clock = clock
        self.instances = {}

    def do(self, ended, failed=0, id="new", revision="shop:2"):
        known = self.instances.get(id)
        started = self._clock.now() if known is None else known.started
        work = {"shop.sell": Work(ended, failed, ended, 0.01 * ended, (0, 0, 0, 0, ended))}
        self.instances[id] = Instance(
            id, f"host-{id}", 7, started, {"shop": "1"}, work=work, revision=revision
        )


@pytest.fixture
def mesh(clock):
    return Mesh(clock)


@pytest.fixture
def said():
    return []


@pytest.fixture
def start(broker, mesh, clock, said):
    """Begins a rollout of shop:2 in a task of its own."""

    def start(cluster, share=0.25, **fields):
        plan = replace(Plan("shop", "shop:2", "shop:2", share, 20, BOUNDS), **fields)
        rollout = Rollout(cluster, broker, mesh, clock, plan=plan, tell=said.append)
        return asyncio.create_task(rollout.run())

    return start


async def test_a_good_version_is_promoted_after_the_bake_time(start, mesh, clock, said):
    cluster = FakeCluster(shop=3)
    running = start(cluster)
    await clock.settle()
    assert cluster.told == [("start canary", "shop", 0), ("start canary", "shop", 1)]
    assert "25%" in said[0]
    mesh.do(50)
    await clock.advance(20 - LOOK_SECONDS)
    assert not running.done()
    await clock.advance(3 * LOOK_SECONDS)
    await running
    assert cluster.told[2:] == [("update", "shop", "shop:2"), ("stop canary", "shop")]
    assert (await find_service(cluster, "shop")).replicas == 3
    assert said[-1] == "shop is shop:2 now"


async def test_a_rolling_update_waits_for_one_replica_and_for_no_bake_time(start, mesh, clock):
    cluster = FakeCluster(shop=3)
    running = start(cluster, rolling=True, share=0.01)
    await clock.advance(LOOK_SECONDS)
    assert cluster.told == [("start canary", "shop", 0), ("start canary", "shop", 1)]
    # One failure among few is no reason yet.
    mesh.do(2, failed=1)
    await clock.advance(2 * LOOK_SECONDS)
    await running
    assert cluster.told[2:] == [("update", "shop", "shop:2"), ("stop canary", "shop")]


async def test_a_rolling_update_that_is_bad_is_rolled_back_and_an_interrupted_one_goes_on(
    start, mesh, clock
):
    cluster = FakeCluster(shop=3)
    cluster.updates["shop:2"] = Update("rolling", "1 of 3 are new")
    first = start(cluster, rolling=True)
    await clock.settle()
    mesh.do(0)
    await clock.advance(2 * LOOK_SECONDS)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert "is being promoted to shop:2" in describe_state(await find_service(cluster, "shop"))
    again = start(cluster, rolling=True)
    await clock.settle()
    mesh.do(100, failed=50)
    await clock.advance(2 * LOOK_SECONDS)
    with pytest.raises(RolledBack, match="50 failed"):
        await again
    assert ("update", "shop", "shop:1") in cluster.told
    assert (await find_service(cluster, "shop")).image == "shop:1"


async def test_a_rolling_update_needs_room_for_one_replica(start, clock):
    running = start(FakeCluster(shop=20), rolling=True)
    await clock.settle()
    with pytest.raises(SettingsError, match="--max-replicas"):
        await running


async def test_replicas_are_added_for_the_share_and_go_again(start, mesh, clock):
    cluster = FakeCluster(shop=1)
    running = start(cluster)
    await clock.advance(LOOK_SECONDS)
    assert cluster.told == [
        ("start canary", "shop", 0),
        ("scale", "shop", 3, []),
        ("start canary", "shop", 1),
    ]
    mesh.do(50)
    await clock.advance(30)
    await running
    assert cluster.told[-1] == ("scale", "shop", 1, [])


async def test_a_bad_version_is_rolled_back_as_soon_as_that_is_known(start, mesh, clock, said):
    cluster = FakeCluster(shop=3)
    running = start(cluster)
    await clock.settle()
    mesh.do(10, failed=4)
    await clock.advance(LOOK_SECONDS)
    with pytest.raises(RolledBack, match="4 failed"):
        await running
    assert cluster.told[2:] == [("stop canary", "shop")]
    assert (await find_service(cluster, "shop")).revision == "shop:1"


async def test_one_that_never_comes_up_is_rolled_back(start, clock):
    cluster = FakeCluster(shop=1)
    running = start(cluster, share=0.5)
    await clock.advance(BOUNDS.start + 2 * LOOK_SECONDS)
    with pytest.raises(RolledBack, match="120 s"):
        await running


async def test_one_whose_processes_die_is_rolled_back(start, mesh, clock):
    cluster = FakeCluster(shop=1)
    running = start(cluster, share=0.5)
    await clock.settle()
    mesh.do(5)
    await clock.advance(LOOK_SECONDS)
    mesh.instances.clear()
    await clock.advance(BOUNDS.missing + 2 * LOOK_SECONDS)
    with pytest.raises(RolledBack, match="missing"):
        await running


async def test_one_that_fails_while_it_is_promoted_gives_its_place_back(start, mesh, clock):
    cluster = FakeCluster(shop=3)
    cluster.updates["shop:2"] = Update("rolling", "1 of 3")
    running = start(cluster)
    await clock.settle()
    mesh.do(50)
    await clock.advance(20 + LOOK_SECONDS)
    assert cluster.told[-1] == ("update", "shop", "shop:2")
    mesh.do(100, failed=50)
    await clock.advance(LOOK_SECONDS)
    with pytest.raises(RolledBack):
        await running
    assert cluster.told[3:] == [("update", "shop", "shop:1"), ("stop canary", "shop")]


async def test_an_update_that_the_engine_gives_up_is_rolled_back(start, mesh, clock):
    cluster = FakeCluster(shop=3)
    cluster.updates["shop:2"] = Update("failed", "paused: no such image")
    running = start(cluster)
    await clock.settle()
    mesh.do(50)
    await clock.advance(20 + LOOK_SECONDS)
    with pytest.raises(RolledBack, match="no such image"):
        await running
    assert (await find_service(cluster, "shop")).image == "shop:1"


@pytest.mark.parametrize("seconds", [0, 10, 21])
async def test_an_interrupted_one_goes_on_from_where_it_stands(start, mesh, clock, seconds):
    cluster = FakeCluster(shop=1)
    cluster.updates["shop:2"] = Update("rolling", "0 of 1")
    first = start(cluster)
    await clock.settle()
    mesh.do(50)
    await clock.advance(seconds)
    first.cancel()
    await asyncio.wait([first])
    state = describe_state(await find_service(cluster, "shop"))
    assert "shop:2" in state
    del cluster.updates["shop:2"]
    second = start(cluster)
    await clock.advance(20 - min(seconds, 20) + 3 * LOOK_SECONDS)
    await second
    found = await find_service(cluster, "shop")
    assert (found.revision, found.replicas, found.canary) == ("shop:2", 1, None)
    assert cluster.told.count(("start canary", "shop", 0)) == 1
    assert cluster.told.count(("start canary", "shop", 1)) == 1


async def test_another_version_waits_until_the_first_is_settled(start, mesh, clock):
    cluster = FakeCluster(shop=1)
    first = start(cluster)
    await clock.settle()
    first.cancel()
    await asyncio.wait([first])
    with pytest.raises(SettingsError, match="--abort"):
        await start(cluster, image="shop:3", revision="shop:3")


async def test_what_runs_already_is_not_deployed(start, clock, said):
    cluster = FakeCluster(shop=1)
    await start(cluster, image="shop:1", revision="shop:1")
    assert not cluster.told
    assert said == ["shop is shop:1 already"]


async def test_an_engine_that_is_away_is_waited_for_and_not_for_ever(start, mesh, clock):
    cluster = FakeCluster(shop=1)
    cluster.away = True
    running = start(cluster)
    await clock.advance(60)
    cluster.away = False
    await clock.advance(LOOK_SECONDS)
    assert cluster.told
    running.cancel()
    await asyncio.wait([running])
    cluster.away = True
    running = start(cluster)
    await clock.advance(AWAY_SECONDS + 2 * LOOK_SECONDS)
    with pytest.raises(ClusterUnavailable):
        await running


async def test_a_service_that_is_not_there_is_named_with_those_that_are(start):
    with pytest.raises(ClusterError, match="it has bank"):
        await start(FakeCluster(bank=1))


async def test_it_can_be_taken_back_by_hand(start, clock, said):
    cluster = FakeCluster(shop=1)
    running = start(cluster)
    await clock.settle()
    running.cancel()
    await asyncio.wait([running])
    with pytest.raises(RolledBack):
        await roll_back(cluster, await find_service(cluster, "shop"), said.append, "told to")
    found = await find_service(cluster, "shop")
    assert (found.replicas, found.canary) == (1, None)
