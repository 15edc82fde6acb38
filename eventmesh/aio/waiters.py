"""A first-in, first-out queue of tasks that wait for something."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable


class WaitQueue:
    """Tasks that wait until they are woken, the first one first.

    Waking a task grants it what it waits for, such as a permit. The caller that wakes counts the
    permits. Each call to `wake_oldest` or `wake_newest` that returns True ends in exactly one of
    two ways: one call of `wait` returns, or its `release` is called.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        # Ordered, to drop one from the middle at once. A plain dict would be slow to find its first
        # key: it searches past all deleted ones.
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, release: Callable[[], object]) -> None:
        """Wait until woken.

        `release` is called if this task is cancelled after it was woken and before it could run:
        its grant then goes to another waiter. Raises the error that `fail_all` was given.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            await turn
        except BaseException:
            self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                release()
            raise

    def wake_oldest(self) -> bool:
        """Wake the task that has waited longest. Returns False if no task waits."""
        return self._wake(last=False)

    def wake_newest(self) -> bool:
        """Wake the task that has waited shortest. Returns False if no task waits."""
        return self._wake(last=True)

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Raise an error in every task that waits; `error` makes one for each."""
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_exception(error())

    def _wake(self, *, last: bool) -> bool:
        while self._waiting:
            turn, _ = self._waiting.popitem(last=last)
            if not turn.done():  # Done here is cancelled: its task has not run since.
                turn.set_result(None)
                return True
        return False
