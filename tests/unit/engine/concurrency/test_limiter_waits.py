"""How long an invocation waits for a permit in its process and for a slot of the mesh."""

import asyncio
from contextlib import suppress

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.concurrency.limiter import THROTTLED_RETRY_SECONDS, Limiter, limit_concurrency
from eventmesh.model.errors import BrokerUnavailable, InvocationTimeout, NotBegun, Throttled
from eventmesh.model.invocation import ASYNC, SYNC, Invocation
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.result import Result

INVOCATION = Invocation("orders.place", "a-1", b"", 0.0)
UNUSED = {"running": 0, "waiting": 0, "throttled": 0}


@pytest.fixture
async def slots(clock):
    async with MemoryBroker(clock) as broker, broker.slots("orders.place", 1) as slots:
        yield slots


async def fine(_):
    return Result(b"1")


class TestSlots:
    """Waiting for a slot of the mesh."""

    async def test_the_wait_ends_at_the_deadline(self, clock, slots):
        limiter = Limiter(2, max_pending=0)
        await slots.acquire()
        invocation = Invocation("a.b", "1", b"", 0.0, SYNC, deadline=clock.now() + 5)
        run = asyncio.create_task(limit_concurrency(fine, limiter, clock, slots)(invocation))
        await clock.advance(5)
        result = await run
        assert isinstance(result.error, InvocationTimeout)
        assert limiter.statistics() == UNUSED

    async def test_without_a_deadline_it_lasts_until_one_is_free(self, clock, slots):
        limiter = Limiter(2, max_pending=0)
        await slots.acquire()
        run = asyncio.create_task(limit_concurrency(fine, limiter, clock, slots)(INVOCATION))
        await clock.advance("1h")
        assert not run.done()
        slots.release()
        assert (await run).error is None

    async def test_a_broker_that_goes_away_is_an_error_as_a_result(self, clock):
        limiter = Limiter(2, max_pending=0)
        async with MemoryBroker(clock) as broker, broker.slots("a.b", 1) as slots:
            await slots.acquire()
            run = asyncio.create_task(limit_concurrency(fine, limiter, clock, slots)(INVOCATION))
            await clock.settle()
            await broker.__aexit__(None, None, None)
            assert isinstance((await run).error, BrokerUnavailable)
        assert limiter.statistics() == UNUSED

    async def test_who_stops_waiting_takes_no_slot_along(self, clock, slots):
        limiter = Limiter(2, max_pending=0)
        await slots.acquire()
        run = asyncio.create_task(limit_concurrency(fine, limiter, clock, slots)(INVOCATION))
        await clock.settle()
        slots.release()
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        assert (await limit_concurrency(fine, limiter, clock, slots)(INVOCATION)).error is None


class Delivered:
    """A delivery, as far as the limiter looks at it."""

    stale = False


class TestDeliveries:
    """What the broker delivered, and whoever dispatches it requeues where it was not begun."""

    @pytest.fixture
    def runs(self):
        return []

    @pytest.fixture
    def dispatch(self, clock, runs):
        """Dispatch one delivery to a function with a limiter, and slots if it has any."""

        async def handler(invocation):
            runs.append(invocation.id)
            return Result(b"1")

        def dispatch(limiter, slots, mode=ASYNC, delivery=None):
            brought_by = delivery or Delivered()
            invocation = Invocation("a.b", "1", b"", clock.now(), mode, delivery=brought_by)
            return asyncio.create_task(
                limit_concurrency(handler, limiter, clock, slots)(invocation)
            )

        return dispatch

    @pytest.mark.parametrize("waits_for", ["permit", "slot"])
    async def test_what_waits_is_handed_back_at_a_stop(
        self, clock, slots, dispatch, runs, waits_for
    ):
        limiter = Limiter(1, max_pending=0)
        if waits_for == "permit":
            limiter.acquire_nowait()
        else:
            await slots.acquire()
        waiting = dispatch(limiter, slots)
        await clock.settle()
        assert limiter.statistics()["waiting"] == 1
        limiter.hand_back()
        later = dispatch(limiter, slots)
        assert isinstance((await waiting).error, NotBegun)
        assert isinstance((await later).error, NotBegun)
        assert runs == []
        assert limiter.statistics()["waiting"] == 0
        assert limiter.statistics()["running"] == (waits_for == "permit")

    async def test_a_caller_that_waits_is_not_handed_back(self, clock, slots, dispatch):
        limiter = Limiter(1, max_pending=1)
        limiter.acquire_nowait()
        waiting = dispatch(limiter, slots, SYNC)
        await clock.settle()
        limiter.hand_back()
        await clock.settle()
        limiter.release()
        assert (await waiting).error is None

    async def test_who_is_cancelled_while_it_is_handed_back_is_cancelled(
        self, clock, slots, dispatch
    ):
        limiter = Limiter(1, max_pending=1)
        limiter.acquire_nowait()
        waiting = dispatch(limiter, slots)
        await clock.settle()
        limiter.hand_back()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert limiter.statistics()["waiting"] == 0

    @pytest.mark.parametrize("mode", [ASYNC, SYNC])
    @pytest.mark.parametrize("waits_for", ["permit", "slot"])
    async def test_what_was_lost_while_it_waited_is_not_run(
        self, clock, slots, dispatch, runs, waits_for, mode
    ):
        limiter = Limiter(1, max_pending=1)
        delivery = Delivered()
        if waits_for == "permit":
            limiter.acquire_nowait()
        else:
            await slots.acquire()
        waiting = dispatch(limiter, slots, mode, delivery)
        await clock.settle()
        delivery.stale = True
        (limiter if waits_for == "permit" else slots).release()
        assert isinstance((await waiting).error, NotBegun)
        assert runs == []
        # It keeps nothing of what it got.
        assert (await dispatch(limiter, slots)).error is None


class TestPatience:
    """How long a synchronous caller waits that has set no deadline, as requests over HTTP."""

    @pytest.fixture(params=["for a permit", "for a slot"])
    async def waiting(self, request, clock, slots):
        """A function whose permit, or slot of the mesh, is taken, and its limiter."""
        limiter = Limiter(1, max_pending=1)
        if request.param == "for a permit":
            assert limiter.acquire_nowait()
        else:
            await slots.acquire()

        def waiting(timeout, mode=SYNC):
            handler = limit_concurrency(fine, limiter, clock, slots, timeout)
            invocation = Invocation("orders.place", "a-1", b"", clock.now(), mode)
            return asyncio.create_task(handler(invocation)), limiter

        return waiting

    @pytest.mark.parametrize(("timeout", "seconds"), [(0.2, 0.2), (None, DEFAULT_TIMEOUT)])
    async def test_it_is_refused_after_the_timeout_of_the_function(
        self, waiting, clock, timeout, seconds
    ):
        task, limiter = waiting(timeout)
        await clock.advance(seconds * 0.9)
        assert not task.done()
        await clock.advance(seconds * 0.1)
        assert task.done()
        error = (await task).error
        assert isinstance(error, Throttled)
        assert f"within {seconds:g} s" in str(error)
        assert error.retry_after == THROTTLED_RETRY_SECONDS
        assert limiter.statistics()["waiting"] == 0
        assert limiter.statistics()["throttled"] == 1

    async def test_asynchronous_work_waits_for_as_long_as_it_takes(self, waiting, clock):
        task, _ = waiting(0.2, ASYNC)
        await clock.advance("1h")
        assert not task.done()
        task.cancel()

    async def test_both_waits_together_are_no_longer_than_the_timeout(self, clock, slots):
        limiter = Limiter(1, max_pending=1)
        assert limiter.acquire_nowait()
        await slots.acquire()
        invocation = Invocation("orders.place", "a-1", b"", clock.now(), SYNC)
        task = asyncio.create_task(limit_concurrency(fine, limiter, clock, slots, 5.0)(invocation))
        await clock.advance(4)
        limiter.release()
        await clock.advance(1)
        assert task.done()
        assert isinstance((await task).error, Throttled)
        assert limiter.statistics() == UNUSED | {"throttled": 1}


@pytest.mark.parametrize("ahead", [-3600, 3600])
@pytest.mark.parametrize("waits_for", ["permit", "slot"])
async def test_waiting_goes_by_no_time_of_day(clock, slots, ahead, waits_for):
    limiter = Limiter(1, max_pending=1)
    if waits_for == "permit":
        limiter.acquire_nowait()
    else:
        await slots.acquire()
    invocation = Invocation("a.b", "1", b"", clock.now(), SYNC)
    run = limit_concurrency(fine, limiter, clock, slots, 5.0)(invocation)
    waiting = asyncio.create_task(run)
    await clock.settle()
    clock.set_time_of_day(ahead)
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.1)
    assert isinstance((await waiting).error, Throttled)
