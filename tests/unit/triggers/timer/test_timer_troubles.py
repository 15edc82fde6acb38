"""Lost leases, brokers that refuse, clocks that jump."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import BrokerUnavailable, FunctionNotFound, Throttled
from eventmesh.model.topology import lease_name
from eventmesh.testing.clock import ManualClock
from eventmesh.triggers import on


@pytest.fixture
def connection(connect, broker):
    return connect(broker)


class JumpingClock(ManualClock):
    """The time of day may be set; what waits goes on by the time that passes."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@pytest.fixture
def clock():
    return JumpingClock()


async def test_a_holder_that_dies_before_saving_repeats_under_the_same_id(
    running, connection, clock, fired
):
    hourly = on.every("1h", catch_up="all")
    async with running(hourly, broker=connection):
        await clock.settle()
        connection.lease_lost = True
        async with running(hourly):
            await clock.advance("3h")
    ids = Counter(message.id for message in await fired())
    assert len(ids) == 3
    assert sum(ids.values()) == 4


async def test_a_holder_that_lost_its_lease_asks_for_it_again(running, connection, clock, fired):
    async with running(on.every("1h", catch_up="all"), broker=connection):
        await clock.settle()
        connection.lease_lost = True
        await clock.advance("90m")
        connection.lease_lost = False
        await clock.advance("90m")
    assert len({message.id for message in await fired()}) == 3


async def test_what_a_process_fired_it_does_not_repeat_though_it_could_not_save(
    running, connection, clock, fired
):
    async with running(on.every("1h", catch_up="all"), broker=connection):
        await clock.settle()
        connection.lease_lost = True
        await clock.advance("1h")
        connection.lease_lost = False
        await clock.advance("1h")
    assert len(await fired()) == 2


async def test_what_others_fired_meanwhile_is_not_repeated(running, connection, clock, fired):
    hourly = on.every("1h", catch_up="all")
    async with running(hourly, broker=connection):
        await clock.settle()
        connection.refusals = {"every": BrokerUnavailable("the broker is away")}
        async with running(hourly):
            await clock.advance("3h")
        connection.refusals = {}
        await clock.advance("1h")
    assert len(await fired()) == 4


async def test_asking_for_the_lease_becomes_rarer(running, connection, clock):
    connection.lease_lost = True
    async with running(on.every("1h"), broker=connection):
        await clock.advance("10m")
        early = connection.asked_for_lease
        await clock.advance("10m")
    # At first within a second, in the end every 15 to 30 s.
    assert early > 20
    assert connection.asked_for_lease - early <= 41


@pytest.mark.parametrize(
    "refusal",
    [
        BrokerUnavailable("the broker is away"),
        FunctionNotFound("orders.tick"),
        Throttled("the inbox is full"),
    ],
    ids=["unavailable", "not found", "full"],
)
async def test_a_firing_that_is_refused_is_tried_again(
    running, connection, clock, scheduled, refusal
):
    async with running(on.every("1h", catch_up="once"), broker=connection):
        connection.refusals = {"every": refusal}
        await clock.advance("90m")
        assert connection.refused > 10
        assert await scheduled() == []
        connection.refusals = {}
        await clock.advance("1m")
        assert await scheduled() == ["2026-01-01 01:00:00"]
        await clock.advance("29m")
        assert await scheduled() == ["2026-01-01 02:00:00"]


@pytest.mark.parametrize(
    "refusal",
    [BrokerUnavailable("the broker is away"), Throttled("the inbox is full")],
    ids=["unavailable", "full"],
)
async def test_after_a_success_trying_again_is_quick_again(running, connection, clock, refusal):
    async with running(on.every("1h", catch_up="once"), broker=connection):
        connection.refusals = {"every": refusal}
        await clock.advance("90m")
        connection.refusals = {}
        await clock.advance("29m")
        connection.refusals = {"every": refusal}
        before = connection.refused
        await clock.advance("65s")
    # At once, then after 0.5, 1 and 2 s at the most.
    assert connection.refused - before >= 4


async def test_a_full_inbox_does_not_hold_up_other_timers(running, connection, clock, fired):
    connection.refusals = {"every": Throttled("the inbox is full")}
    async with running(on.every("1h"), on.cron("0 * * * *"), broker=connection):
        await clock.advance("3h")
    assert [message.trigger for message in await fired()] == ["cron"] * 3


async def test_leaving_finishes_the_publishing_that_is_under_way(running, connection, clock, fired):
    connection.open.clear()
    async with running(on.every("1h"), broker=connection):
        await clock.advance("1h")
        await connection.publishing.wait()
        asyncio.get_running_loop().call_soon(connection.open.set)
    assert len(await fired()) == 1
    async with running(on.every("1h", catch_up="all")):
        await clock.settle()
    assert await fired() == []


async def test_a_cancelled_leaving_waits_for_no_publishing(running, connection, clock, fired):
    connection.open.clear()

    async def leave_within_no_time() -> None:
        async with asyncio.timeout(None) as limit, running(on.every("1h"), broker=connection):
            await clock.advance("1h")
            await connection.publishing.wait()
            limit.reschedule(0)

    with pytest.raises(TimeoutError):
        await leave_within_no_time()
    assert await fired() == []
    async with running(on.every("1h")):
        await clock.settle()
    assert len(await fired()) == 1


async def test_leaving_stops_in_the_middle_of_catching_up(running, connection, clock, fired):
    hourly = on.every("1h", catch_up="all")
    async with running(hourly):
        await clock.settle()
    await clock.advance("500h")
    connection.open.clear()
    async with running(hourly, broker=connection):
        await connection.publishing.wait()
        asyncio.get_running_loop().call_soon(connection.open.set)
    assert len(await fired()) == 1
    async with running(hourly):
        await clock.settle()
    assert len(await fired()) == 499


async def test_a_clock_that_is_set_back_fires_nothing_twice(running, clock, fired):
    async with running(on.every("1h", catch_up="all")):
        await clock.advance("3h")
        clock.ahead = -7200
        await clock.advance("3h")
    ids = [message.id for message in await fired()]
    assert len(ids) == len(set(ids)) == 4


async def test_a_clock_that_is_set_forward_is_noticed_on_the_way(running, clock, scheduled):
    async with running(on.cron("0 20 * * *")):
        await clock.advance("1h")
        clock.ahead = 12 * 3600
        await clock.advance("6h 59m")
        assert await scheduled() == []
        await clock.advance("1m")
        assert await scheduled() == ["2026-01-01 20:00:00"]


async def test_a_machine_that_was_suspended_fires_by_the_policy(running, clock, scheduled):
    async with running(on.every("1h"), on.every("2h", catch_up="once")):
        await clock.advance("1h")
        clock.ahead = 7.5 * 3600
        await clock.advance("8m")
    assert await scheduled() == ["2026-01-01 01:00:00", "2026-01-01 08:00:00"]


async def test_a_state_from_the_future_is_kept_and_told(running, clock, broker, fired, caplog):
    async with broker.lease(lease_name("orders")) as held:
        await held.save(b'{"orders.tick every 1 h": 2000000000000000}')
    async with running(on.every("1h")):
        await clock.advance("5h")
    assert await fired() == []
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "2033-05-18T03:33:20+00:00, which is in the future" in warning
    assert "delete the queue em.timers.orders" in warning


async def test_a_broker_that_closes_is_no_reason_to_end(running, connect, clock):
    async with AsyncExitStack() as closing:
        connection = connect(await closing.enter_async_context(MemoryBroker(clock)))
        async with running(on.every("1h"), broker=connection):
            await clock.settle()
            await closing.aclose()
            await clock.advance("2h")
            assert connection.asked_for_lease > 100


async def test_an_error_beside_the_timers_comes_out_as_it_is(running):
    with pytest.raises(LookupError):
        async with running(on.every("1h")):
            raise LookupError
