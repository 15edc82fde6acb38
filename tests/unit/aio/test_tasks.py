import asyncio
from contextlib import suppress

import pytest

from eventmesh.aio.tasks import background_task, check_cancelled, task_group


async def test_leaving_waits_for_the_tasks():
    done = []

    async def work():
        await asyncio.sleep(0)
        done.append(1)

    async with task_group() as tasks:
        tasks.create_task(work())

    assert done == [1]


async def test_an_error_of_the_block_comes_through_as_it_is():
    with pytest.raises(KeyError):
        async with task_group():
            raise KeyError


async def test_a_cancellation_cancels_the_tasks():
    running = asyncio.Event()
    cancelled = []

    async def work():
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def own():
        async with task_group() as tasks:
            tasks.create_task(work())

    async with asyncio.TaskGroup() as tests:
        owner = tests.create_task(own())
        await running.wait()
        owner.cancel()

    assert owner.cancelled()
    assert cancelled == [1]


async def test_an_error_of_a_task_ends_the_block():
    async def fail():
        raise KeyError

    async def own():
        async with task_group() as tasks:
            tasks.create_task(fail())
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as failed:
        await own()

    assert [type(error) for error in failed.value.exceptions] == [KeyError]


async def test_a_cancellation_that_was_swallowed_is_raised_where_it_is_asked_for():
    running = asyncio.Event()

    async def work():
        while True:
            check_cancelled()
            running.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async with asyncio.timeout(60), background_task(work()):
        await running.wait()


async def test_a_task_that_is_not_cancelled_goes_on():
    check_cancelled()
