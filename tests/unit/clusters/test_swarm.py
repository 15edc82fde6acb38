import pytest

from eventmesh.clusters.abc import ClusterError
from eventmesh.clusters.swarm import Swarm


@pytest.fixture
def swarm(api, engine):
    engine.service("shop", 3, **{"eventmesh.autoscale": "0..5", "other": "x"})
    engine.service("rabbitmq", 1)
    return Swarm(api, "stack")


async def test_services_are_those_of_the_stack(swarm):
    found = await swarm.services()
    assert set(found) == {"shop", "rabbitmq"}
    shop = found["shop"]
    assert (shop.image, shop.replicas, shop.running) == ("shop:1", 3, 3)
    assert shop.labels == {"autoscale": "0..5"}


async def test_scaling_changes_the_count_and_nothing_else(swarm, engine):
    before = engine.services["stack_shop"]["Spec"]["TaskTemplate"]
    await swarm.scale("shop", 0)
    spec = engine.services["stack_shop"]["Spec"]
    assert spec["Mode"] == {"Replicated": {"Replicas": 0}}
    assert spec["TaskTemplate"] == before


async def test_what_is_so_already_is_not_written(swarm, engine):
    await swarm.scale("shop", 3)
    assert all(method == "GET" for method, _, _ in engine.requests)


async def test_a_change_that_another_one_overtook_is_tried_again(swarm, engine):
    engine.refuse["POST", "/services/id-shop/update"] = (500, "rpc error: update out of sequence")
    await swarm.scale("shop", 5)
    assert (await swarm.services())["shop"].replicas == 5


async def test_a_canary_has_no_ports_and_keeps_its_notes(swarm, engine):
    await swarm.start_canary("shop", "shop:2", "two", 1, {"replicas": "3"})
    spec = engine.services["stack_shop-canary"]["Spec"]
    assert "Ports" not in spec["EndpointSpec"]
    assert spec["TaskTemplate"]["ContainerSpec"] == {
        "Image": "shop:2",
        "Env": ["A=1", "EVENTMESH_REVISION=two"],
    }
    found = await swarm.services()
    assert set(found) == {"shop", "rabbitmq"}
    canary = found["shop"].canary
    assert (canary.image, canary.revision, canary.replicas) == ("shop:2", "two", 1)
    assert canary.notes == {"replicas": "3"}
    await swarm.stop_canary("shop")
    await swarm.stop_canary("shop")
    assert (await swarm.services())["shop"].canary is None


async def test_an_update_starts_new_ones_first_and_stops_where_they_fail(swarm, engine):
    await swarm.update("shop", "shop:2", "two")
    spec = engine.services["stack_shop"]["Spec"]
    assert spec["UpdateConfig"]["Order"] == "start-first"
    assert spec["UpdateConfig"]["FailureAction"] == "pause"
    shop = (await swarm.services())["shop"]
    assert (shop.image, shop.revision) == ("shop:2", "two")


@pytest.mark.parametrize(
    ("status", "new", "stage"),
    [
        (None, 0, "rolling"),
        (None, 3, "done"),
        ({"State": "updating"}, 3, "rolling"),
        ({"State": "completed"}, 3, "done"),
        ({"State": "paused", "Message": "no such image"}, 0, "failed"),
        ({"State": "rollback_completed"}, 0, "failed"),
    ],
)
async def test_how_far_an_update_is(swarm, engine, status, new, stage):
    await swarm.update("shop", "shop:2", "two")
    engine.services["stack_shop"]["UpdateStatus"] = status
    task = {
        "Status": {"State": "running"},
        "Spec": {"ContainerSpec": {"Env": ["EVENTMESH_REVISION=two"]}},
    }
    engine.tasks = [task] * new
    update = await swarm.find_update("shop", "two")
    assert update.stage == stage
    assert f"{new} of 3" in update.detail


async def test_a_version_that_somebody_changed_is_told(swarm):
    assert (await swarm.find_update("shop", "two")).stage == "failed"


async def test_a_stack_that_is_not_there_is_told(api, engine):
    swarm = Swarm(api, "stack")
    assert not await swarm.exists()
    with pytest.raises(ClusterError, match="docker stack deploy"):
        await swarm.services()


async def test_only_a_manager_has_services(swarm, engine):
    assert await swarm.exists()
    engine.swarm = {"ControlAvailable": False}
    assert not await swarm.exists()
