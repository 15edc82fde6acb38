import asyncio
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from eventmesh.aio.clock import SystemClock, TimeLimit, sleep


class HandClock:
    """A clock whose timers ring by hand, all that are due in one pass of the event loop."""

    def __init__(self):
        self.timers = {}

    def call_later(self, delay, callback):
        key = object()
        self.timers[key] = (delay, callback)
        return SimpleNamespace(cancel=lambda: self.timers.pop(key, None))

    @property
    def pending(self):
        return [delay for delay, _ in self.timers.values()]

    def ring(self, until):
        for key, (delay, callback) in list(self.timers.items()):
            if delay <= until and self.timers.pop(key, None):
                callback()


@pytest.fixture
def clock():
    return HandClock()


async def forever():
    await asyncio.Event().wait()


async def started(coroutine):
    """A task that runs the coroutine and has come to where it first waits."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def outcome(task):
    await asyncio.wait([task])
    return "cancelled" if task.cancelled() else task.exception() or task.result()


@contextmanager
def timing_out():
    """Expects a TimeoutError, and nothing left behind that would cancel the task later."""
    before = asyncio.current_task().cancelling()
    with pytest.raises(TimeoutError):
        yield
    assert asyncio.current_task().cancelling() == before


async def test_a_body_in_time_is_left_alone(clock):
    with TimeLimit(clock, 1):
        await asyncio.sleep(0)
        assert clock.pending == [1]
    assert clock.pending == []


async def test_a_body_out_of_time_is_ended_and_the_task_goes_on(clock):
    async def body():
        with timing_out(), TimeLimit(clock, 1):
            await forever()
        await asyncio.sleep(0)
        return "went on"

    task = await started(body())
    clock.ring(1)
    assert await outcome(task) == "went on"


@pytest.mark.parametrize("delay", [0, -1, 0.001])
async def test_a_limit_of_the_system_clock_ends_a_body_that_waits(delay):
    with timing_out(), TimeLimit(SystemClock(), delay):
        await forever()


async def test_no_time_is_enough_for_a_body_that_never_waits():
    with TimeLimit(SystemClock(), 0):
        pass
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_an_error_of_the_body_is_its_own(clock):
    with pytest.raises(ValueError, match="own"), TimeLimit(clock, 1):
        raise ValueError("own")
    assert clock.pending == []


async def test_an_error_raised_while_cleaning_up_is_kept(clock):
    async def body():
        with TimeLimit(clock, 1):
            try:
                await forever()
            finally:
                raise ValueError("while cleaning up")

    task = await started(body())
    clock.ring(1)
    assert str(await outcome(task)) == "while cleaning up"
    assert task.cancelling() == 0


async def test_a_result_reached_despite_the_cancellation_is_kept(clock):
    async def body():
        with TimeLimit(clock, 1):
            try:
                await forever()
            except asyncio.CancelledError:
                result = "late"
        await asyncio.sleep(0)
        return result

    task = await started(body())
    clock.ring(1)
    assert await outcome(task) == "late"
    assert task.cancelling() == 0


@pytest.mark.parametrize("event_first", [True, False])
async def test_a_body_that_would_go_on_as_the_timer_rings_is_out_of_time(clock, event_first):
    event = asyncio.Event()

    async def body():
        with timing_out(), TimeLimit(clock, 1):
            await event.wait()
        await asyncio.sleep(0)
        return "out of time"

    task = await started(body())
    for step in (event.set, lambda: clock.ring(1))[:: 1 if event_first else -1]:
        step()
    assert await outcome(task) == "out of time"


@pytest.mark.parametrize("outside_first", [True, False])
async def test_a_cancellation_from_outside_at_the_same_moment_wins(clock, outside_first):
    async def body():
        with TimeLimit(clock, 1):
            await forever()

    task = await started(body())
    for step in (task.cancel, lambda: clock.ring(1))[:: 1 if outside_first else -1]:
        step()
    assert await outcome(task) == "cancelled"


async def test_a_cancellation_from_outside_during_the_cleaning_up_wins(clock):
    cleaning = asyncio.Event()

    async def body():
        with TimeLimit(clock, 1):
            try:
                await forever()
            finally:
                cleaning.set()
                await forever()

    task = await started(body())
    clock.ring(1)
    await cleaning.wait()
    task.cancel()
    assert await outcome(task) == "cancelled"


async def test_a_limit_on_cleaning_up_does_not_swallow_the_cancellation_before_it(clock):
    async def body():
        try:
            await forever()
        finally:
            with timing_out(), TimeLimit(clock, 1):
                await forever()

    task = await started(body())
    task.cancel()
    await asyncio.sleep(0)
    clock.ring(1)
    assert await outcome(task) == "cancelled"


@pytest.mark.parametrize(
    ("outer", "inner", "expected"), [(1, 2, "outer"), (2, 1, "inner"), (1, 1, "outer")]
)
async def test_of_nested_limits_the_one_that_is_over_raises(clock, outer, inner, expected):
    async def body():
        try:
            with TimeLimit(clock, outer):
                try:
                    with TimeLimit(clock, inner):
                        await forever()
                except TimeoutError:
                    return "inner"
        except TimeoutError:
            return "outer"

    task = await started(body())
    clock.ring(1)
    assert await outcome(task) == expected
    assert task.cancelling() == 0
    assert clock.pending == []


async def test_one_limit_can_be_used_again():
    async def body():
        limit = TimeLimit(SystemClock(), 0)
        with timing_out(), limit:
            await forever()
        with limit:
            asyncio.current_task().cancel()
            await forever()

    assert await outcome(await started(body())) == "cancelled"


async def test_a_group_of_tasks_is_ended(clock):
    ended = []

    async def child():
        try:
            await forever()
        finally:
            ended.append("child")

    async def body():
        with timing_out(), TimeLimit(clock, 1):
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        return "went on"

    task = await started(body())
    await asyncio.sleep(0)
    clock.ring(1)
    assert await outcome(task) == "went on"
    assert ended == ["child"]


async def test_a_group_whose_child_fails_while_it_is_ended_raises_that(clock):
    async def child():
        try:
            await forever()
        finally:
            raise ValueError("child")

    async def body():
        with TimeLimit(clock, 1):
            async with asyncio.TaskGroup() as group:
                group.create_task(child())

    task = await started(body())
    await asyncio.sleep(0)
    clock.ring(1)
    error = await outcome(task)
    assert [str(one) for one in error.exceptions] == ["child"]
    assert task.cancelling() == 0


@pytest.mark.parametrize("rings", [True, False])
async def test_a_group_that_ends_its_body_is_not_taken_for_the_limit(clock, rings):
    async def child():
        if rings:
            asyncio.get_running_loop().call_soon(clock.ring, 1)
        raise ValueError("child")

    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            with TimeLimit(clock, 1):
                await forever()

    task = await started(body())
    error = await outcome(task)
    assert [str(one) for one in error.exceptions] == ["child"]
    assert task.cancelling() == 0


async def test_inside_a_group_it_ends_only_its_own_body(clock):
    event = asyncio.Event()

    async def child():
        await event.wait()
        return "undisturbed"

    async def body():
        async with asyncio.TaskGroup() as group:
            other = group.create_task(child())
            with timing_out(), TimeLimit(clock, 1):
                await forever()
            event.set()
        return other.result()

    task = await started(body())
    clock.ring(1)
    assert await outcome(task) == "undisturbed"


async def test_sleep_ends_when_its_time_is_over(clock):
    task = await started(sleep(clock, 5))
    clock.ring(4)
    await asyncio.sleep(0)
    assert not task.done()
    clock.ring(5)
    assert await outcome(task) is None


@pytest.mark.parametrize("rings", [5, 4])
async def test_a_cancelled_sleep_is_cancelled_and_leaves_no_timer(clock, rings):
    task = await started(sleep(clock, 5))
    task.cancel()
    clock.ring(rings)
    assert await outcome(task) == "cancelled"
    assert clock.pending == []


async def test_no_sleep_lets_others_run():
    ran = []
    asyncio.get_running_loop().call_soon(ran.append, "other")
    await sleep(SystemClock(), 0)
    assert ran == ["other"]


async def test_a_timer_of_the_system_clock_can_be_cancelled():
    rang = []
    SystemClock().call_later(0, lambda: rang.append("cancelled")).cancel()
    SystemClock().call_later(0, lambda: rang.append("kept"))
    await sleep(SystemClock(), 0)
    assert rang == ["kept"]
