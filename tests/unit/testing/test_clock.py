"""The clock that a test moves."""

import asyncio
import weakref
from datetime import UTC, datetime, timedelta

import pytest

from eventmesh.aio.clock import TimeLimit, sleep
from eventmesh.model.errors import DeclarationError
from eventmesh.testing.clock import START, ManualClock


@pytest.fixture
def clock():
    return ManualClock()


async def test_it_starts_at_a_fixed_moment_and_stands_still(clock):
    assert datetime.fromtimestamp(clock.now(), UTC) == datetime(2026, 1, 1, tzinfo=UTC)
    await clock.settle()
    assert clock.now() == START
    assert ManualClock(1000.0).now() == 1000.0


@pytest.mark.parametrize(
    ("duration", "seconds"), [(1.5, 1.5), ("6h", 21600), (timedelta(days=7), 604800)]
)
async def test_it_moves_as_far_as_it_is_told(clock, duration, seconds):
    await clock.advance(duration)
    assert clock.now() == START + seconds


async def test_it_does_not_go_back(clock):
    with pytest.raises(DeclarationError):
        await clock.advance(-1)


async def test_many_small_steps_are_one_large_one(clock):
    fired = []
    clock.call_later(1.0, lambda: fired.append(clock.now()))
    for _ in range(10):
        assert not fired
        await clock.advance(0.1)
    assert fired == [START + 1]


async def test_timers_fire_in_the_order_of_their_times_and_then_of_their_setting(clock):
    fired = []
    for name, delay in (("c", 3), ("a", 1), ("b", 2), ("a too", 1), ("never", 3.5)):
        clock.call_later(delay, lambda name=name: fired.append((name, clock.now() - START)))
    await clock.advance(3)
    assert fired == [("a", 1), ("a too", 1), ("b", 2), ("c", 3)]


async def test_a_timer_set_on_the_way_fires_on_the_way(clock):
    times = []

    async def tick():
        for _ in range(3):
            await sleep(clock, 10)
            times.append(clock.now() - START)

    async with asyncio.TaskGroup() as group:
        group.create_task(tick())
        await clock.advance(35)
    assert times == [10, 20, 30]


async def test_a_cancelled_timer_does_not_fire(clock):
    fired = []
    timer = clock.call_later(1, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    await clock.advance(2)
    assert not fired


async def test_cancelling_what_has_fired_does_nothing(clock):
    fired = []
    first = clock.call_later(1, lambda: fired.append(1))
    clock.call_later(2, lambda: fired.append(2))
    await clock.advance(1)
    first.cancel()
    await clock.advance(1)
    assert fired == [1, 2]


async def test_limits_that_are_never_reached_do_not_pile_up(clock):
    class Limit:
        def __call__(self):
            pytest.fail("it was cancelled")

    fired, kept = [], weakref.WeakSet()
    clock.call_later(60, lambda: fired.append(clock.now() - START))
    for _ in range(10_000):
        limit = Limit()
        kept.add(limit)
        clock.call_later(30, limit).cancel()
        assert len(kept) <= 3
    await clock.advance(60)
    assert fired == [60]


async def test_no_delay_is_the_next_pass_of_the_loop(clock):
    fired = []
    clock.call_later(0, lambda: fired.append(1))
    assert not fired
    await asyncio.sleep(0)
    assert fired == [1]


async def test_work_in_progress_is_over_before_time_moves_on(clock):
    """A chain that asks for the time now and then is let finish, however long it is."""
    finished = []

    async def chain():
        await sleep(clock, 1)
        for number in range(200):
            await asyncio.sleep(0)
            if number % 10 == 0:
                clock.now()
        finished.append(clock.now() - START)

    async with asyncio.TaskGroup() as group:
        group.create_task(chain())
        clock.call_later(1.5, lambda: finished.append("later"))
        await clock.advance(2)
    assert finished == [1, "later"]


async def test_a_time_limit_ends_what_takes_longer(clock):
    async def limited():
        with TimeLimit(clock, 5):
            await sleep(clock, 60)

    async def expect():
        with pytest.raises(TimeoutError):
            await limited()
        return clock.now() - START

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(expect())
        await clock.advance(10)
    assert waiting.result() == 5
