"""Leases: one holder at a time, and a state that outlives it."""

import asyncio

import pytest

from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import lease_name, record_name


@pytest.fixture
def name(service):
    return lease_name(service)


async def test_a_new_lease_has_no_state(broker, name):
    async with broker.lease(name) as lease:
        assert lease.state == b""


async def test_what_is_saved_is_there_for_the_next_holder(mesh, broker, other, name):
    async with broker.lease(name) as lease:
        await mesh.soon(lease.save(b"1"))
        await mesh.soon(lease.save(b"2"))
        assert lease.state == b"2"
    async with asyncio.timeout(60), other.lease(name) as lease:
        assert lease.state == b"2"


async def test_one_holds_it_at_a_time_and_all_come_to_it(broker, other, name):
    held, order = 0, []

    async def hold(connection, number):
        nonlocal held
        async with connection.lease(name) as lease:
            held += 1
            assert held == 1
            await lease.save(lease.state + bytes([number]))
            order.append(number)
            held -= 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as holders:
        for number in range(10):
            holders.create_task(hold(other if number % 2 else broker, number))

    assert sorted(order) == list(range(10))
    async with broker.lease(name) as lease:
        assert lease.state == bytes(order)


async def test_one_who_gave_up_waiting_does_not_get_it(broker, other, name):
    async def wait_for_it():
        async with other.lease(name):
            pytest.fail("the wait was cancelled")

    async with broker.lease(name), asyncio.TaskGroup() as waits:
        given_up = waits.create_task(wait_for_it())
        await asyncio.sleep(0)
        given_up.cancel()
    async with asyncio.timeout(60), other.lease(name):
        pass


async def test_a_holder_that_fails_hands_it_on(broker, other, name):
    async def fail():
        async with broker.lease(name) as lease:
            await lease.save(b"kept")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with asyncio.timeout(60), other.lease(name) as lease:
        assert lease.state == b"kept"


async def test_who_has_left_can_save_nothing(broker, name):
    async with broker.lease(name) as lease:
        pass
    with pytest.raises(BrokerUnavailable, match=name):
        await lease.save(b"too late")
    async with broker.lease(name) as lease:
        assert lease.state == b""


async def test_leases_of_different_names_are_apart(broker, name, service):
    both = broker.lease(name), broker.lease(record_name(service))
    async with asyncio.timeout(60), both[0], both[1] as lease:
        assert lease.state == b""
