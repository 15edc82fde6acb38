"""Task groups that their owner's errors pass through as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def task_group() -> AsyncGenerator[asyncio.TaskGroup]:
    """A task group; leaving waits for its tasks, and a cancellation of that wait cancels them.

    So does a cancellation of the block. Any other error of the block lets them end, and is not
    wrapped in an exception group, as `asyncio.TaskGroup` would do: in a source the block is the
    whole life of the service, and its errors are not the group's.
    """
    group = asyncio.TaskGroup()
    await group.__aenter__()
    try:
        yield group
    except asyncio.CancelledError as error:
        await group.__aexit__(type(error), error, error.__traceback__)
        raise
    except BaseException:
        await group.__aexit__(None, None, None)
        raise
    await group.__aexit__(None, None, None)


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run `work` in a task of its own while entered; leaving cancels it.

    An error of the block comes out as it is: a task group alone would put it into a group. An error
    of `work` cancels the block, and comes out in an exception group.
    """
    raised: BaseException | None = None
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work)
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 it is raised below
            raised = error
        finally:
            working.cancel()
    if raised is not None:
        raise raised


async def call_at_once(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Call all of these, and wait for all together: none waits for the others' waits.

    Errors come out in an exception group.
    """

    async def wait(call: Callable[[], Awaitable[None]]) -> None:
        await call()

    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(wait(call))


def check_cancelled() -> None:
    """Raise CancelledError in a task that is to end, also where it was told so in vain.

    asyncio.wait_for of Python 3.11 forgets a cancellation that comes together with the result
    (https://github.com/python/cpython/issues/86296): a loop over calls of a library that uses it
    goes on for ever unless it asks.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
