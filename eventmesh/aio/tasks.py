"""A task group that its owner's errors pass through as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


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
