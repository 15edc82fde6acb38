"""Tells a cancellation that was asked for here from one that comes from outside."""

from __future__ import annotations

import asyncio


def take_back(
    task: asyncio.Task[object], cancelling: int, kind: type[BaseException] | None
) -> bool:
    """Take back a cancellation of this task's, and return whether it is what ended a block.

    It is not if the task was cancelled from outside, too, or if the block had ended by then with a
    result or another error. `cancelling` is `task.cancelling()` from when the block was entered,
    and `kind` what leaves it. See https://docs.python.org/3/library/asyncio-task.html#task-cancellation.
    """
    from_outside = task.uncancel() > cancelling
    return kind is asyncio.CancelledError and not from_outside
