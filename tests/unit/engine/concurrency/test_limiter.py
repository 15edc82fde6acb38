"""Permits for runs: never more than there are, none lost, and no waiter overtaken."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.concurrency.limiter import THROTTLED_RETRY_SECONDS, Limiter, limit_concurrency
from eventmesh.model.errors import InvocationTimeout, Throttled
from eventmesh.model.invocation import ASYNC, SYNC, Invocation
from eventmesh.model.result import Result
from eventmesh.testing.clock import ManualClock


class Visit:
    """A task that takes a permit, holds it for as long as the test says and gives it back."""

    def __init__(self, limiter, clock, mode, deadline=None):
        self.left = asyncio.Event()
        self.holds = False
        self.task = asyncio.create_task(self._visit(limiter, clock, mode, deadline))

    async def _visit(self, limiter, clock, mode, deadline):
        await limiter.acquire(mode, clock, deadline)
        self.holds = True
        try:
            await self.left.wait()
        finally:
            limiter.release()
            self.holds = False

    async def outcome(self):
        with suppress(asyncio.CancelledError):
            return await self.task


@pytest.fixture
def visit(clock):
    async def visit(limiter, mode, deadline=None):
        visit = Visit(limiter, clock, mode, deadline)
        await clock.settle()
        return visit

    return visit


def state(limiter):
    statistics = limiter.statistics()
    return statistics["running"], statistics["waiting"], statistics["throttled"]


async def test_permits_are_taken_at_once_while_there_are_some(visit):
    limiter = Limiter(2, max_pending=1)
    assert limiter.acquire_nowait()
    assert (await visit(limiter, ASYNC)).holds
    assert not limiter.acquire_nowait()
    assert state(limiter) == (2, 0, 0)


@pytest.mark.parametrize("max_pending", [0, 1, 3])
async def test_a_synchronous_caller_is_refused_at_once_when_the_queue_is_full(visit, max_pending):
    limiter = Limiter(1, max_pending)
    assert limiter.acquire_nowait()
    waiting = [await visit(limiter, SYNC) for _ in range(max_pending)]
    refused = await visit(limiter, SYNC)
    with pytest.raises(
        Throttled, match=f"all 1 permits are in use and {max_pending} callers wait"
    ) as error:
        await refused.task
    assert error.value.retry_after == THROTTLED_RETRY_SECONDS
    assert state(limiter) == (1, max_pending, 1)
    assert not any(one.task.done() for one in waiting)
    for one in waiting:
        one.task.cancel()


async def test_asynchronous_work_is_never_refused(visit):
    limiter = Limiter(1, max_pending=0)
    assert limiter.acquire_nowait()
    waiting = [await visit(limiter, ASYNC) for _ in range(5)]
    assert state(limiter) == (1, 5, 0)
    limiter.release()
    for one in waiting:
        one.left.set()
        await one.task
    assert state(limiter) == (0, 0, 0)


async def test_a_permit_that_is_free_again_goes_to_the_queues_in_turn(visit, clock):
    limiter = Limiter(1, max_pending=10)
    assert limiter.acquire_nowait()
    modes = [SYNC, SYNC, SYNC, ASYNC, ASYNC]
    visits = [await visit(limiter, mode) for mode in modes]
    limiter.release()
    order = []
    for _ in modes:
        await clock.settle()
        (holder,) = [index for index, one in enumerate(visits) if one.holds]
        order.append(holder)
        visits[holder].left.set()
    assert order == [0, 3, 1, 4, 2]


@pytest.mark.parametrize("mode", [SYNC, ASYNC])
async def test_waiting_ends_at_the_deadline(visit, clock, mode):
    limiter = Limiter(1, max_pending=1)
    assert limiter.acquire_nowait()
    visitor = await visit(limiter, mode, clock.now() + 5.0)
    await clock.advance(4.9)
    assert not visitor.task.done()
    await clock.advance(0.1)
    with pytest.raises(InvocationTimeout, match="waiting for a permit to run"):
        await visitor.task
    assert state(limiter) == (1, 0, 0)


async def test_a_deadline_that_has_passed_takes_a_free_permit_only(visit, clock):
    limiter = Limiter(1, max_pending=1)
    assert (await visit(limiter, SYNC, clock.now() - 1)).holds
    late = await visit(limiter, SYNC, clock.now() - 1)
    with pytest.raises(InvocationTimeout):
        await late.task


async def test_who_stops_waiting_loses_his_turn_and_nothing_else(visit, clock):
    limiter = Limiter(1, max_pending=2)
    assert limiter.acquire_nowait()
    first, second = await visit(limiter, SYNC), await visit(limiter, SYNC)
    first.task.cancel()
    await first.outcome()
    assert state(limiter) == (1, 1, 0)
    limiter.release()
    await clock.settle()
    assert second.holds


async def test_a_permit_given_to_somebody_who_is_cancelled_goes_to_the_next(visit, clock):
    limiter = Limiter(1, max_pending=2)
    assert limiter.acquire_nowait()
    first, second = await visit(limiter, ASYNC), await visit(limiter, ASYNC)
    limiter.release()
    first.task.cancel()
    await clock.settle()
    assert first.task.cancelled()
    assert second.holds
    assert state(limiter) == (1, 0, 0)


async def test_a_permit_is_not_given_to_somebody_who_is_about_to_be_gone(visit, clock):
    limiter = Limiter(1, max_pending=2)
    assert limiter.acquire_nowait()
    first = await visit(limiter, ASYNC)
    first.task.cancel()
    limiter.release()
    await clock.settle()
    assert first.task.cancelled()
    assert state(limiter) == (0, 0, 0)


ACTIONS = st.lists(
    st.sampled_from(["sync", "async", "leave", "cancel", "release and cancel", "pass"]),
    max_size=60,
)


@given(actions=ACTIONS, concurrency=st.integers(1, 3), max_pending=st.integers(0, 2))
def test_permits_are_neither_lost_nor_given_twice(actions, concurrency, max_pending):
    async def scenario():
        clock = ManualClock()
        limiter = Limiter(concurrency, max_pending)
        visits = []
        for action in actions:
            holders = [one for one in visits if one.holds and not one.left.is_set()]
            waiting = [one for one in visits if not one.holds and not one.task.done()]
            if action in {"sync", "async"}:
                deadline = clock.now() + 3
                visits.append(Visit(limiter, clock, action, deadline))
            elif action == "pass":
                await clock.advance(1)
            if action in {"leave", "release and cancel"} and holders:
                holders[0].left.set()
                if action == "release and cancel":
                    await asyncio.sleep(0)  # The permit is given, and its taker does not know yet.
            if action in {"cancel", "release and cancel"} and waiting:
                waiting[0].task.cancel()
            assert sum(one.holds for one in visits) <= concurrency
        for one in visits:
            one.left.set()
        await clock.advance(10)
        for one in visits:
            with suppress(Throttled, InvocationTimeout):
                await one.outcome()
        running, waiting, _ = state(limiter)
        assert (running, waiting) == (0, 0)

    asyncio.run(scenario())


INVOCATION = Invocation("orders.place", "a-1", b"", 0.0)


@pytest.fixture
async def slots(clock):
    async with MemoryBroker(clock) as broker, broker.slots("orders.place", 1) as slots:
        yield slots


class Items:
    """A stream of which the test sees whether it was closed."""

    def __init__(self):
        self.left = [b"1", b"2"]
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)

    async def aclose(self):
        self.closed = True


async def raising(_):
    raise ZeroDivisionError


async def hanging(_):
    await asyncio.Event().wait()


async def streaming(_):
    return Result(stream=Items())


async def fine(_):
    return Result(b"1")


class TestLimited:
    """A handler under the limiter, alone and under mesh-wide slots."""

    @pytest.fixture(params=["alone", "with slots"])
    def limit(self, request, clock, slots):
        def limit(handler, limiter):
            return limit_concurrency(
                handler, limiter, clock, slots if request.param == "with slots" else None
            )

        return limit

    async def free(self, limit, limiter):
        """Whether another run gets through."""
        assert state(limiter)[0] == 0
        return (await limit(fine, limiter)(INVOCATION)).body == b"1"

    async def test_the_permit_is_released_after_a_run(self, limit):
        limiter = Limiter(1, max_pending=0)
        assert (await limit(fine, limiter)(INVOCATION)).body == b"1"
        assert await self.free(limit, limiter)

    async def test_the_permit_is_released_after_a_bug(self, limit):
        limiter = Limiter(1, max_pending=0)
        with pytest.raises(ZeroDivisionError):
            await limit(raising, limiter)(INVOCATION)
        assert await self.free(limit, limiter)

    async def test_the_permit_is_released_after_a_cancellation(self, limit, clock):
        limiter = Limiter(1, max_pending=0)
        run = asyncio.create_task(limit(hanging, limiter)(INVOCATION))
        await clock.settle()
        assert state(limiter)[0] == 1
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        assert await self.free(limit, limiter)

    async def test_the_permit_is_held_until_the_stream_has_ended(self, limit):
        limiter = Limiter(1, max_pending=0)
        result = await limit(streaming, limiter)(INVOCATION)
        assert await anext(result.stream) == b"1"
        assert state(limiter)[0] == 1
        assert [item async for item in result.stream] == [b"2"]
        assert await self.free(limit, limiter)

    async def test_the_permit_is_released_once_when_a_stream_is_closed_unread(self, limit):
        limiter = Limiter(1, max_pending=0)
        result = await limit(streaming, limiter)(INVOCATION)
        await result.stream.aclose()
        await result.stream.aclose()
        assert await self.free(limit, limiter)

    async def test_a_caller_beyond_the_queue_gets_an_error_as_a_result(self, limit, clock):
        limiter = Limiter(1, max_pending=0)
        assert limiter.acquire_nowait()
        invocation = Invocation("orders.place", "a-1", b"", 0.0, SYNC)
        result = await limit(fine, limiter)(invocation)
        assert isinstance(result.error, Throttled)
