from dataclasses import replace

from eventmesh.model.work import Work
from eventmesh.presence import announce, observe
from eventmesh.presence.instance import ALIVE, HERE, INTERVAL, Heartbeat


def ignore(instances):
    """Nobody is told of changes."""


async def test_what_was_done_is_told_from_time_to_time_and_is_no_change(broker, clock, process):
    changes = []
    async with (
        observe(broker, clock, lambda seen: changes.append(set(seen))) as mesh,
        announce(broker, clock, process),
    ):
        work = {"shop.sell": Work(3, 1, 3, 0.5, (1, 2))}
        process.instance = replace(process.instance, work=work)
        await clock.advance(INTERVAL)
        assert mesh.instances["one"].work == work
    assert changes == [{"one"}, set()]


async def test_impossible_counts_are_dropped(broker, clock, process, tell):
    async with observe(broker, clock, ignore) as mesh:
        wrong = Work(seconds=-1.0)
        await tell(HERE, replace(process.instance, work={"shop.sell": wrong}), "shop")
        assert not mesh.instances
        await tell(HERE, process.instance, "shop")
        await tell(ALIVE, Heartbeat("one", {"shop.sell": -5}), "shop")
        await tell(ALIVE, Heartbeat("one", work={"shop.sell": wrong}), "shop")
        assert mesh.instances["one"] == process.instance
        assert mesh.refused == 3


async def test_a_process_tells_of_its_own_work_alone(broker, clock, process, tell):
    async with observe(broker, clock, ignore) as mesh:
        await tell(HERE, replace(process.instance, work={"bank.pay": Work(1)}), "shop")
        assert not mesh.instances


async def test_only_a_gateway_stands_in_for_services_where_each_has_a_user(
    broker, clock, process, tell
):
    stand_in = replace(process.instance, stand_in=True)
    async with observe(broker, clock, ignore, ["gateway"]) as mesh:
        await tell(HERE, stand_in, "shop")
        await tell(HERE, stand_in, "mallory")
        assert not mesh.instances
        await tell(HERE, stand_in, "gateway")
        assert list(mesh.instances.values()) == [stand_in]
