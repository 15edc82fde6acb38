"""Where each service has a user of the broker, a process is who RabbitMQ says that it is."""

from dataclasses import replace

import pytest

from eventmesh.presence import observe, observer
from eventmesh.presence.forgery import find_forgery
from eventmesh.presence.instance import ALIVE, GONE, HERE, Heartbeat

GATEWAYS = frozenset(("gateway", "operator"))


def ignore(instances):
    """Nobody is told of changes."""


@pytest.mark.parametrize(
    ("services", "sender", "believed"),
    [
        ({"shop": ""}, "shop", True),
        ({"shop": ""}, "evil", False),
        ({"shop": ""}, "", False),
        ({"shop": ""}, "gateway", False),
        ({"shop": "", "evil": ""}, "evil", False),
        ({}, "gateway", True),
        ({}, "evil", False),
        ({}, "", False),
    ],
)
def test_a_service_speaks_for_itself_and_a_gateway_for_none(process, services, sender, believed):
    announced = replace(process.instance, services=services, functions=(), endpoints=())
    assert (find_forgery(announced, sender, GATEWAYS) == "") is believed


async def test_a_forged_announcement_is_dropped_and_counted_and_logged_once_a_sender(
    broker, clock, process, tell, caplog
):
    seen = []
    async with observe(broker, clock, seen.append, GATEWAYS) as mesh:
        for number in range(3):
            await tell(HERE, replace(process.instance, id=f"x{number}"), "evil")
        await tell(HERE, process.instance, "worse")
        assert (mesh.instances, seen, mesh.refused) == ({}, [], 4)
        await tell(HERE, process.instance, "shop")
        assert list(mesh.instances.values()) == [process.instance]
    warned = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert warned == [
        f"an announcement by the broker's user {sender!r} was dropped: it is sent in the name of "
        "'shop'"
        for sender in ("evil", "worse")
    ]


async def test_who_takes_the_id_of_anothers_process_hides_it_from_nobody(
    broker, clock, process, tell
):
    async with observe(broker, clock, ignore, GATEWAYS) as mesh:
        own = replace(process.instance, services={"evil": ""}, functions=(), endpoints=())
        await tell(HERE, own, "evil")
        await tell(HERE, process.instance, "shop")
        await tell(ALIVE, Heartbeat("one", {"shop.sell": 9}), "evil")
        await tell(GONE, Heartbeat("one"), "evil")
        assert list(mesh.instances.values()) == [process.instance]
        await tell(GONE, Heartbeat("one"), "shop")
        assert mesh.instances == {}


async def test_many_senders_log_no_more_than_a_bound(
    broker, clock, process, tell, caplog, monkeypatch
):
    monkeypatch.setattr(observer, "MAX_WARNINGS", 3)
    async with observe(broker, clock, ignore, GATEWAYS) as mesh:
        for number in range(9):
            await tell(HERE, process.instance, f"evil{number}")
        assert mesh.refused == 9
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 3
