import asyncio
from dataclasses import replace

import pytest

from eventmesh.middleware.deadline import enforce_deadline
from eventmesh.model.errors import FunctionError, InvocationTimeout
from eventmesh.model.invocation import Batch, HttpRequest, RouteTemplate
from eventmesh.model.result import Result
from eventmesh.testing.clock import ManualClock


async def echo(invocation):
    return Result(b"", headers={"deadline": str(invocation.deadline)})


async def forever(invocation):
    await asyncio.Event().wait()


class CountingClock(ManualClock):
    timers_set = 0

    def call_later(self, delay, callback):
        self.timers_set += 1
        return super().call_later(delay, callback)


async def started(coroutine, clock):
    """The coroutine as a task that has come as far as it comes by itself."""
    task = asyncio.get_running_loop().create_task(coroutine)
    await clock.settle()
    return task


@pytest.mark.parametrize(
    ("timeout", "callers", "expected"), [(5, None, 5), (5, 9, 5), (9, 5, 5), (None, 5, 5)]
)
async def test_the_earlier_of_timeout_and_callers_deadline_is_passed_on(
    clock, invocation, timeout, callers, expected
):
    passed = []

    async def handler(invocation):
        passed.append(invocation)
        return Result()

    before = invocation(
        deadline=None if callers is None else clock.now() + callers,
        content_type="text/plain",
        headers={"a": "b"},
        trigger="queue",
        attempt=3,
        caller="shop.buy",
        type="order.placed",
        http=HttpRequest(RouteTemplate("GET /", (), False), "GET", "/", {}, {}, {}),
        batch=Batch([b"1"]),
    )
    await enforce_deadline(clock, timeout)(handler)(before)
    assert passed == [replace(before, deadline=clock.now() + expected)]


async def test_without_any_limit_the_invocation_is_passed_on_as_it_is_and_no_timer_is_set(
    invocation,
):
    clock = CountingClock()
    passed = []

    async def handler(invocation):
        passed.append(invocation)
        return Result()

    unlimited = invocation()
    await enforce_deadline(clock, None)(handler)(unlimited)
    assert passed[0] is unlimited
    assert clock.timers_set == 0


@pytest.mark.parametrize("late", [0, 10])
async def test_work_whose_deadline_has_passed_is_not_started(clock, invocation, late):
    calls = []
    run = enforce_deadline(clock, 5)(calls.append)
    result = await run(invocation(deadline=clock.now() - late))
    assert isinstance(result.error, InvocationTimeout)
    assert "orders.place was not started" in str(result.error)
    assert calls == []


async def test_a_handler_is_cancelled_when_its_timeout_is_over(clock, invocation):
    task = await started(enforce_deadline(clock, 5)(forever)(invocation()), clock)
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.1)
    result = await task
    assert isinstance(result.error, InvocationTimeout)
    assert "orders.place was ended after its timeout of 5 s" in str(result.error)


async def test_a_handler_is_cancelled_at_the_deadline_of_its_caller(clock, invocation):
    handler = enforce_deadline(clock, 5)(forever)
    task = await started(handler(invocation(deadline=clock.now() + 1.5)), clock)
    await clock.advance(1.5)
    assert "after 1.5 s, at its caller's deadline" in str((await task).error)


async def test_a_handler_that_swallows_the_cancellation_has_timed_out_all_the_same(
    clock, invocation
):
    late = asyncio.Event()

    async def stubborn(invocation):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await late.wait()
        return Result(b"late")

    async def worker():
        result = await enforce_deadline(clock, 5)(stubborn)(invocation())
        return result, asyncio.current_task().cancelling()

    task = await started(worker(), clock)
    await clock.advance(60)
    assert not task.done()
    late.set()
    result, cancelling = await task
    assert isinstance(result.error, InvocationTimeout)
    assert cancelling == 0


async def test_a_handler_that_fails_while_it_is_cancelled_has_timed_out(clock, invocation):
    async def failing(invocation):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Result(error=FunctionError("ValueError", "in its clean-up"))

    task = await started(enforce_deadline(clock, 5)(failing)(invocation()), clock)
    await clock.advance(5)
    assert isinstance((await task).error, InvocationTimeout)


async def test_a_cancellation_from_outside_stays_one(clock, invocation):
    task = await started(enforce_deadline(clock, 5)(forever)(invocation()), clock)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_wins_over_a_timeout_at_the_same_time(invocation):
    class CancellingClock(ManualClock):
        def call_later(self, delay, callback):
            return super().call_later(delay, lambda: (callback(), task.cancel()))

    clock = CancellingClock()
    task = await started(enforce_deadline(clock, 5)(forever)(invocation()), clock)
    await clock.advance(5)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_a_worker_does_after_a_run_is_not_cancelled(clock, invocation):
    done = asyncio.Event()

    async def worker():
        await enforce_deadline(clock, 5)(echo)(invocation())
        await done.wait()
        return "done"

    task = await started(worker(), clock)
    await clock.advance(60)
    done.set()
    assert await task == "done"


async def test_each_of_many_runs_ends_at_its_own_deadline(clock, invocation):
    handler = enforce_deadline(clock, 60)(forever)
    start = clock.now()
    ended = {}

    async def run(seconds):
        await handler(invocation(deadline=start + seconds))
        ended[seconds] = clock.now() - start

    async with asyncio.TaskGroup() as tasks:
        for seconds in (3, 1, 2, 1, 30, 59, 4):
            tasks.create_task(run(seconds))
        await clock.settle()
        await clock.advance(60)
    assert {seconds: round(at, 3) for seconds, at in ended.items()} == {
        seconds: seconds for seconds in (3, 1, 2, 30, 59, 4)
    }


async def test_runs_that_end_in_time_share_one_timer(invocation):
    clock = CountingClock()
    handler = enforce_deadline(clock, 5)(echo)
    for _ in range(100):
        await handler(invocation())
    assert clock.timers_set == 1


async def test_a_run_that_begins_after_the_timer_rang_is_timed_too(clock, invocation):
    handler = enforce_deadline(clock, 5)
    await handler(echo)(invocation())
    await clock.advance(60)
    task = await started(handler(forever)(invocation()), clock)
    await clock.advance(5)
    assert isinstance((await task).error, InvocationTimeout)


@pytest.mark.parametrize("ahead", [-20, 3600])
async def test_a_run_has_its_time_whatever_the_time_of_day_is_set_to(clock, invocation, ahead):
    handler = enforce_deadline(clock, 20)(forever)
    first = await started(handler(invocation()), clock)
    await clock.advance(10)
    second = await started(handler(invocation()), clock)
    clock.set_time_of_day(ahead)
    third = await started(handler(invocation()), clock)
    await clock.advance(9.9)
    assert not first.done()
    await clock.advance(0.1)
    assert isinstance((await first).error, InvocationTimeout)
    await clock.advance(9.9)
    assert not second.done()
    assert not third.done()
    await clock.advance(0.1)
    assert isinstance((await second).error, InvocationTimeout)
    assert isinstance((await third).error, InvocationTimeout)
