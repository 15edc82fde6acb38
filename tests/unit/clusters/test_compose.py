import asyncio

import pytest

from eventmesh.clusters.abc import ClusterError
from eventmesh.clusters.compose import Compose


@pytest.fixture
async def compose(api):
    async with Compose(api, "stack") as compose:
        yield compose


def running(engine, **wanted):
    return {
        id[:12].rstrip("0")
        for id, each in engine.containers.items()
        if each["State"]["Status"] == "running"
        and all(each["Config"][name] == text for name, text in wanted.items())
    }


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_services_are_counted_by_their_running_containers(compose, engine):
    engine.container("shop", 1, **{"eventmesh.autoscale": "0..3"})
    engine.container("shop", 2, "exited")
    engine.container("bank", 1)
    found = await compose.services()
    assert (found["shop"].replicas, found["bank"].replicas) == (1, 1)
    assert found["shop"].labels == {"autoscale": "0..3"}


async def test_stopped_ones_are_started_before_others_are_copied(compose, engine):
    engine.container("shop", 1)
    engine.container("shop", 2, "exited")
    await compose.scale("shop", 3)
    assert running(engine) == {"shop1", "shop2", "made1"}
    made = next(each for each in engine.containers.values() if "Name" in each)
    assert made["Name"] == "stack-shop-3"
    assert made["Config"]["Labels"]["com.docker.compose.container-number"] == "3"
    assert made["Config"]["Hostname"] == made["Id"][:12]
    assert made["HostConfig"] == {"Memory": 5}
    assert made["NetworkSettings"]["Networks"] == {"mesh": {"Aliases": ["shop"]}}
    joined = [body for _, path, body in engine.requests if path == "/networks/more/connect"]
    assert joined == [{"Container": made["Id"], "EndpointConfig": {"Aliases": []}}]


async def test_idle_ones_go_first_and_are_kept(compose, engine):
    one = engine.container("shop", 1)
    engine.container("shop", 2)
    engine.container("shop", 3)
    await compose.scale("shop", 1, {one[:12]})
    assert (await compose.services())["shop"].replicas == 1
    await until(lambda: running(engine) == {"shop2"})
    await compose.scale("shop", 0)
    await until(lambda: not running(engine))
    await compose.scale("shop", 1)
    assert running(engine) == {"shop1"}


async def test_a_canary_is_a_copy_of_another_image(compose, engine):
    engine.container("shop", 1)
    await compose.start_canary("shop", "shop:2", "two", 1, {"replicas": "1"})
    found = (await compose.services())["shop"]
    assert (found.replicas, found.image, found.revision) == (1, "shop:1", "")
    assert (found.canary.image, found.canary.revision) == ("shop:2", "two")
    assert found.canary.notes == {"replicas": "1"}
    made = next(each for each in engine.containers.values() if "Name" in each)
    assert made["Config"]["Env"] == ["A=1", "EVENTMESH_REVISION=two"]
    await compose.start_canary("shop", "shop:2", "two", 1, {"replicas": "1"})
    assert len(running(engine)) == 2
    await compose.stop_canary("shop")
    await until(lambda: running(engine) == {"shop1"})
    assert (await compose.services())["shop"].canary is None


async def fail_after_a_canary(api):
    async with Compose(api, "stack") as compose:
        await compose.start_canary("shop", "shop:2", "two", 1, {})
        await compose.stop_canary("shop")
        raise ZeroDivisionError


async def test_leaving_waits_for_what_is_being_stopped_also_after_an_error(api, engine):
    engine.container("shop", 1)
    with pytest.raises(ZeroDivisionError):
        await fail_after_a_canary(api)
    assert running(engine) == {"shop1"}


async def test_an_update_replaces_all_containers(compose, engine):
    engine.container("shop", 1)
    engine.container("shop", 2)
    engine.container("shop", 3, "exited")
    await compose.update("shop", "shop:2", "two")
    async with asyncio.timeout(60):
        while (await compose.find_update("shop", "two")).stage != "done":
            await asyncio.sleep(0.01)
    # The old ones are told to stop, which takes them a moment.
    await until(lambda: running(engine) == {"made1", "made2"})
    assert running(engine, Image="shop:2") == {"made1", "made2"}
    found = (await compose.services())["shop"]
    assert (found.image, found.revision, found.replicas) == ("shop:2", "two", 2)


async def test_a_new_one_that_ends_stops_the_update(compose, engine):
    engine.container("shop", 1)
    engine.refuse["POST", f"/containers/{'made1'.ljust(64, '0')}/start"] = (500, "no room")
    await compose.update("shop", "shop:2", "two")
    async with asyncio.timeout(60):
        while (await compose.find_update("shop", "two")).stage == "rolling":
            await asyncio.sleep(0.01)
    assert (await compose.find_update("shop", "two")).stage == "failed"
    assert running(engine) == {"shop1"}


async def test_a_project_or_a_service_without_a_container_is_told(compose, engine):
    with pytest.raises(ClusterError, match="docker compose up"):
        await compose.services()
    engine.container("shop", 1)
    with pytest.raises(ClusterError, match="--no-start"):
        await compose.scale("bank", 1)
