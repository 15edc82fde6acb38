"""Waits that one event ends, without ending their tasks."""

import asyncio

import pytest

from eventmesh.aio.interruption import Interrupted, Interruption


async def wait(interruption, event):
    with interruption.interrupts():
        await event.wait()
    return "got it"


async def started(tasks, interruption, event):
    task = tasks.create_task(wait(interruption, event))
    await asyncio.sleep(0)
    return task


async def test_all_waits_end_and_none_begins_after_it(tasks):
    interruption, event = Interruption(), asyncio.Event()

    async def interrupted():
        with pytest.raises(Interrupted):
            await wait(interruption, event)
        return asyncio.current_task().cancelling()

    waiting = [tasks.create_task(interrupted()) for _ in range(3)]
    await asyncio.sleep(0)
    interruption.happen()
    waiting.append(tasks.create_task(interrupted()))
    assert [await one for one in waiting] == [0, 0, 0, 0]


async def test_a_wait_that_is_over_is_not_interrupted(tasks):
    interruption, event = Interruption(), asyncio.Event()
    event.set()
    assert await wait(interruption, event) == "got it"
    interruption.happen()
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_wins(tasks):
    interruption = Interruption()
    task = await started(tasks, interruption, asyncio.Event())
    interruption.happen()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_another_error_is_kept():
    interruption = Interruption()

    async def fail():
        with interruption.interrupts():
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("own")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    interruption.happen()
    with pytest.raises(ValueError, match="own"):
        await task
