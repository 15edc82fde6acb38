"""Nothing that is handed to a waiting task is lost, and nothing is handed over twice."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.aio.waiters import WaitQueue


class Semaphore:
    """The simplest user of a queue: permits that are counted here and waited for there."""

    def __init__(self, permits):
        self.free = permits
        self.queue = WaitQueue()

    async def acquire(self):
        if self.free:
            self.free -= 1
        else:
            await self.queue.wait(self.release)

    def release(self, wake="wake_oldest"):
        if not getattr(self.queue, wake)():
            self.free += 1


@pytest.fixture
async def waiting():
    """Three tasks that wait, and the order in which they are woken."""
    queue, order = WaitQueue(), []

    async def wait(number):
        await queue.wait(lambda: order.append(f"{number} releases"))
        order.append(number)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait(number)) for number in range(3)]
        await asyncio.sleep(0)
        yield queue, order, tasks
        for task in tasks:
            task.cancel()


async def turn():
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("wake", "order"), [("oldest", [0, 1, 2]), ("newest", [2, 1, 0])])
async def test_tasks_are_woken_in_order(waiting, wake, order):
    queue, woken, _ = waiting
    for left in (2, 1, 0):
        assert getattr(queue, f"wake_{wake}")()
        assert len(queue) == left
    assert not getattr(queue, f"wake_{wake}")()
    await turn()
    assert woken == order


async def test_a_task_that_stops_waiting_leaves_the_queue(waiting):
    queue, woken, tasks = waiting
    tasks[1].cancel()
    await turn()
    assert len(queue) == 2
    while queue.wake_oldest():
        await turn()
    assert woken == [0, 2]


async def test_a_task_that_is_about_to_be_cancelled_is_not_woken(waiting):
    queue, woken, tasks = waiting
    tasks[0].cancel()
    assert queue.wake_oldest()
    await turn()
    assert woken == [1]
    assert len(queue) == 1


async def test_a_task_that_is_cancelled_once_woken_hands_back(waiting):
    queue, woken, tasks = waiting
    assert queue.wake_oldest()
    tasks[0].cancel()
    await turn()
    assert woken == ["0 releases"]
    assert tasks[0].cancelled()


async def test_all_that_wait_can_be_failed(waiting):
    queue, woken, tasks = waiting
    tasks[0].cancel()
    outcomes = asyncio.gather(*tasks, return_exceptions=True)
    # Not in the task group, which would end the test.
    waits = [asyncio.ensure_future(queue.wait(woken.clear)) for _ in range(2)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await outcomes
    errors = [OSError("first"), OSError("second")]
    queue.fail_all(iter(errors).__next__)
    assert await asyncio.gather(*waits, return_exceptions=True) == errors
    assert not queue


async def test_a_task_that_is_cancelled_as_it_fails_hands_nothing_back():
    queue, released = WaitQueue(), []
    wait = asyncio.ensure_future(queue.wait(lambda: released.append(1)))
    await asyncio.sleep(0)
    queue.fail_all(OSError)
    wait.cancel()
    with suppress(asyncio.CancelledError):
        await wait
    assert wait.cancelled()
    assert released == []


class Crowd:
    """Tasks that take permits, driven step by step."""

    def __init__(self, permits):
        self.permits = permits
        self.semaphore = Semaphore(permits)
        self.held = 0
        self.tasks = []

    async def _take(self):
        await self.semaphore.acquire()
        self.held += 1
        assert self.held <= self.permits

    def acquire(self, _=0):
        self.tasks.append(asyncio.ensure_future(self._take()))

    def cancel(self, number):
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    def release(self, number=0):
        if self.held:
            self.held -= 1
            self.semaphore.release("wake_newest" if number % 2 else "wake_oldest")

    async def disperse(self):
        """Every task that was not cancelled gets a permit in the end, and gives it back."""
        while self.held or not all(task.done() for task in self.tasks):
            await asyncio.sleep(0)
            self.release()
        for task in self.tasks:
            assert task.cancelled() or task.result() is None


STEPS = st.sampled_from(["acquire", "release", "cancel", "pass"])


@given(
    steps=st.lists(st.tuples(STEPS, st.integers(0, 9)), max_size=60),
    permits=st.integers(1, 3),
)
async def test_over_any_schedule_permits_are_neither_lost_nor_given_twice(steps, permits):
    crowd = Crowd(permits)
    for step, number in steps:
        if step == "pass":
            await asyncio.sleep(0)
        else:
            getattr(crowd, step)(number)
    await crowd.disperse()
    assert crowd.semaphore.free == permits
    assert not crowd.semaphore.queue
