"""A pool of tasks that share the deliveries of one queue.

A worker lives until the buffer is closed, also while consumers are lost and started again: an
invocation costs no task of its own. While deliveries wait a worker takes one after the other,
yielding to the event loop only now and then (`YIELD_EVERY`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """Tasks that take and handle, as many as are needed at once, up to `limit`.

    They are started as deliveries come: a function that is never called has one.
    """

    __slots__ = ("_hand_back", "_handle", "_idle", "_limit", "_size", "_take", "_tasks")

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        take: Callable[[], Awaitable[T | None]],
        handle: Callable[[T], Awaitable[None]],
        limit: int,
        hand_back: Callable[[T], object],
    ) -> None:
        """`take` waits for what comes next, and returns None when the workers are to end.

        `hand_back` gets what was being handled when the worker is cancelled.
        """
        self._tasks = tasks
        self._take = take
        self._handle = handle
        self._limit = limit
        self._hand_back = hand_back
        self._size = 0
        self._idle = 0

    def start(self) -> None:
        """Start the first worker, or another one."""
        self._size += 1
        self._idle += 1
        self._tasks.create_task(self._work())

    async def _work(self) -> None:
        take, handle = self._take, self._handle
        while (taken := await take()) is not None:
            self._idle -= 1
            if not self._idle and self._size < self._limit:
                self.start()
            try:
                await handle(taken)
            except asyncio.CancelledError:
                self._hand_back(taken)
                raise
            self._idle += 1
