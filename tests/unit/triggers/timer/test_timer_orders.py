"""What operators ask of timers: to list them, fire one now, pause and resume."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from eventmesh.engine.timers.mesh import MeshTimers
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeclarationError,
    FunctionNotFound,
    PayloadInvalid,
)
from eventmesh.model.message import Message
from eventmesh.model.topology import lease_name, to_timers
from eventmesh.triggers import on
from eventmesh.triggers.timer.schedules import SECOND
from eventmesh.triggers.timer.state import Marks, dump_marks, load_marks

TICK = "orders.tick"


@pytest.fixture
def timers(broker, clock):
    async def names():
        return [TICK, "pricing.quote"]

    return MeshTimers(broker, clock, names)


@pytest.fixture
def leading(running, clock):
    """As `running`, once it fires the timers."""

    @asynccontextmanager
    async def leading(*triggers):
        async with running(*triggers):
            await clock.advance("1ms")
            yield

    return leading


async def stored(broker):
    async with broker.lease(lease_name("orders")) as lease:
        return load_marks(lease.state)


async def test_a_timer_says_when_it_fires_and_has_fired(leading, clock, timers):
    async with leading(on.every("10s")):
        await clock.advance("25s")
        (told,) = (await timers.list()).timers
    now = clock.now()
    assert (told.function, told.schedule, told.paused) == (TICK, "every 10 s", None)
    assert [round(each - now) for each in told.next] == [5, 15, 25, 35, 45]
    assert [round(now - each) for each in told.last] == [5, 15]


async def test_one_fires_now_and_keeps_its_moments(leading, clock, timers, fired):
    async with leading(on.every("10s")):
        await clock.advance("12s")
        assert len(await fired()) == 1
        told = await timers.run(TICK)
        (extra,) = await fired()
        assert told.last[0] == clock.now()
        await clock.advance("8s")
        (regular,) = await fired()
    assert (extra.trigger, extra.type) == (regular.trigger, regular.type)
    assert extra.id != regular.id


async def test_a_pause_holds_in_the_next_leader_and_misses_nothing(
    leading, clock, timers, scheduled, broker
):
    every = on.every("10s", catch_up="all")
    async with leading(every):
        await clock.advance("11s")
        since = clock.now()
        (told,) = await timers.pause(TICK)
        assert told.paused == since
        await clock.advance("30s")
    assert await scheduled() == ["2026-01-01 00:00:10"]
    assert (await stored(broker)).paused == {f"{TICK} every 10 s": round(since * SECOND)}
    async with leading(every):
        await clock.advance("30s")
        ((told,), paused) = (await timers.list()).timers, await timers.pause(TICK)
        assert told.paused == since == paused[0].paused
        assert await scheduled() == []
        (told,) = await timers.resume(TICK)
        assert told.paused is None
        await clock.advance("10s")
    assert await scheduled() == ["2026-01-01 00:01:20"]
    assert (await stored(broker)).paused == {}


async def test_a_paused_one_fires_when_it_is_told_to(leading, clock, timers, fired):
    async with leading(on.every("10s")):
        await timers.pause(TICK)
        told = await timers.run(TICK)
        assert len(await fired()) == 1
        assert told.paused is not None
        await clock.advance("30s")
        assert await fired() == []


async def test_paused_and_resumed_often_it_fires_once_a_moment(leading, clock, timers, fired):
    async with leading(on.every("10s")):
        for _ in range(3):
            await timers.pause(TICK)
            await timers.resume(TICK)
            await timers.resume(TICK)
        await clock.advance("10s")
        assert len(await fired()) == 1


async def test_a_moment_that_passes_in_a_pause_never_comes(leading, clock, timers, fired):
    async with leading(on.at("2026-01-01T00:00:10Z")):
        await timers.pause(TICK)
        await clock.advance("20s")
        (told,) = await timers.resume(TICK)
        assert told.next == ()
        await clock.advance("1d")
        assert await fired() == []


async def test_of_several_one_is_named(leading, clock, timers, fired):
    async with leading(on.every("10s"), on.every("7s")):
        with pytest.raises(PayloadInvalid, match="'every 7 s'"):
            await timers.run(TICK)
        assert (await timers.run(TICK, "every 7 s")).schedule == "every 7 s"
        assert len(await fired()) == 1
        assert len(await timers.pause(TICK)) == 2
        await timers.resume(TICK, "every 10 s")
        await clock.advance("10s")
        assert len(await fired()) == 1
        with pytest.raises(FunctionNotFound, match="timers list"):
            await timers.pause(TICK, "every 8 s")


async def test_where_nobody_fires_them_nothing_hangs(timers):
    assert (await timers.list()).timers == []
    with pytest.raises(FunctionNotFound, match="no process fires them now"):
        await timers.pause(TICK)
    with pytest.raises(DeclarationError):
        await timers.pause("nonsense")


async def test_what_is_no_order_is_answered_and_harms_nothing(leading, broker, clock, timers):
    async with leading(on.every("10s")):
        for body in (b"", b"[]", b'{"verb":"drop"}', b'{"verb":"run","function":7}'):
            request = Message(body, "1", clock.now(), deadline=clock.monotonic() + 5)
            reply = await broker.request(to_timers("orders"), request)
            assert b"no request about timers" in reply.body
        assert len((await timers.list()).timers) == 1


async def test_an_answer_of_another_user_does_not_count(leading, broker, clock):
    async def names():
        return [TICK]

    suspicious = MeshTimers(broker, clock, names, gateways=["gateway"])
    async with leading(on.every("10s")):
        with pytest.raises(AccessDenied):
            await suspicious.pause(TICK)
        assert (await suspicious.list()).timers == []


async def test_a_pause_that_could_not_be_saved_is_refused(replica, connect, broker, clock, timers):
    connection = connect(broker)
    async with replica(on.every("10s"), broker=connection, clock=clock):
        await clock.advance("1s")
        connection.lease_lost = True
        with pytest.raises(BrokerUnavailable):
            await timers.pause(TICK)
        connection.lease_lost = False
        await clock.advance("60s")
        (told,) = (await timers.list()).timers
        assert told.paused is None


def test_the_state_of_an_older_version_is_read_and_a_newer_one_by_it():
    old = b'{"orders.tick every 10 s":7}'
    assert load_marks(old) == Marks({"orders.tick every 10 s": 7})
    marks = Marks({"a.b every 1 s": 1}, {"a.b every 1 s": 2}, {"a.b every 1 s": 3})
    assert load_marks(dump_marks(marks)) == marks


async def test_many_that_ask_at_once_are_answered(leading, timers):
    async with leading(on.every("10s")):
        told = await asyncio.gather(*(timers.list() for _ in range(15)))
    assert [len(each.timers) for each in told] == [1] * 15
