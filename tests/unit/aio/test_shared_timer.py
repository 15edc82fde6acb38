import pytest

from eventmesh.aio.clock import SharedTimer
from eventmesh.testing.clock import START, ManualClock


class CountingClock(ManualClock):
    timers_set = 0

    def call_later(self, delay, callback):
        self.timers_set += 1
        return super().call_later(delay, callback)


@pytest.fixture
def clock():
    return CountingClock()


@pytest.fixture
def expired():
    return []


@pytest.fixture
def deadlines(clock, expired):
    return SharedTimer(clock, expired.append)


async def test_what_has_not_ended_expires_at_its_moment_and_once(clock, deadlines, expired):
    deadlines.add("late", START + 5)
    await clock.advance(4.9)
    assert expired == []
    await clock.advance(0.1)
    await clock.advance(60)
    assert expired == ["late"]


async def test_what_has_ended_does_not_expire(clock, deadlines, expired):
    deadlines.add("a", START + 1)
    deadlines.add("b", START + 2)
    deadlines.remove("a")
    await clock.advance(10)
    assert expired == ["b"]
    deadlines.remove("b")
    deadlines.remove("a")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
async def test_each_expires_in_its_turn_however_they_were_added(clock, deadlines, expired, order):
    for seconds in order:
        deadlines.add(seconds, START + seconds)
    seen = []
    for _ in order:
        await clock.advance(1)
        seen.append(list(expired))
    assert seen == [[1], [1, 2], [1, 2, 3]]


async def test_what_is_over_already_expires_soon_and_never_from_within(clock, deadlines, expired):
    deadlines.add("past", START - 5)
    assert expired == []
    await clock.settle()
    assert expired == ["past"]


async def test_what_comes_after_the_timer_rang_expires_too(clock, deadlines, expired):
    deadlines.add("a", START + 1)
    deadlines.remove("a")
    await clock.advance(5)
    deadlines.add("b", START + 6)
    await clock.advance(1)
    assert expired == ["b"]


async def test_they_share_one_timer(clock, deadlines):
    for number in range(1000):
        deadlines.add(number, START + 5 + number)
        deadlines.remove(number)
    assert clock.timers_set == 1


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_the_time_of_day_does_not_count(clock, deadlines, expired, ahead):
    deadlines.add("before", clock.monotonic() + 5)
    clock.set_time_of_day(ahead)
    deadlines.add("after", clock.monotonic() + 6)
    await clock.advance(4.9)
    assert expired == []
    await clock.advance(0.1)
    assert expired == ["before"]
    await clock.advance(1)
    assert expired == ["before", "after"]
