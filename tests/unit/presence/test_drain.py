"""A process is told over the broker to drain, and no other."""

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import AccessDenied, DeclarationError, FunctionNotFound
from eventmesh.presence import Instance, announce
from eventmesh.presence.drain import Draining, MeshInstances


def describe(id):
    return lambda: Instance(
        id, "host", 1, 0.0, {"orders": "1"}, running={"orders.place": 2}, waiting={"orders.pay": 1}
    )


@pytest.fixture
async def broker(clock):
    async with MemoryBroker(clock) as broker:
        yield broker


async def test_one_drains_and_says_what_it_has_to_finish(broker, clock):
    drained = []
    async with (
        announce(broker, clock, describe("one"), drain=lambda: drained.append("one")),
        announce(broker, clock, describe("two"), drain=lambda: drained.append("two")),
    ):
        answer = await MeshInstances(broker, clock).drain("two")
    assert answer == Draining("two", running=2, waiting=1)
    assert drained == ["two"]


async def test_one_without_a_supervisor_is_not_drained(broker, clock):
    async with announce(broker, clock, describe("dev")):
        with pytest.raises(FunctionNotFound, match="eventmesh ps"):
            await MeshInstances(broker, clock).drain("dev")


@pytest.mark.parametrize("id", ["", "*", "a.b", "#", "x" * 65, "drain two"])
async def test_what_is_no_id_is_refused(broker, clock, id):
    with pytest.raises(DeclarationError):
        await MeshInstances(broker, clock).drain(id)


async def test_who_is_no_gateway_drains_nothing(broker, clock):
    drained = []
    stop = announce(
        broker, clock, describe("one"), gateways=["gateway"], drain=lambda: drained.append(1)
    )
    async with stop:
        with pytest.raises(AccessDenied, match="EVENTMESH_GATEWAYS"):
            await MeshInstances(broker, clock).drain("one")
    assert drained == []
