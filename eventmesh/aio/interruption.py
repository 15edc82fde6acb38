"""Ends the waits of many tasks at once, without ending the tasks."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from eventmesh.aio.cancellation import take_back


class Interrupted(Exception):
    """A wait was interrupted before it got what it waited for."""


class Interruption:
    """An event that interrupts what waits under it: `with interruption.interrupts(): await …`."""

    __slots__ = ("_happened", "_waits")

    def __init__(self) -> None:
        self._happened = False
        # A dict, because it keeps the order in which they began.
        self._waits: dict[_InterruptibleWait, None] = {}

    def interrupts(self) -> _InterruptibleWait:
        """Return what is entered around a wait. Raises Interrupted on entering, or from the wait.

        As with a time limit, a cancellation from outside wins over the interruption, and a wait
        that has got what it waited for keeps it.
        """
        return _InterruptibleWait(self._waits, happened=self._happened)

    def happen(self) -> None:
        """Interrupt all that waits, in the order in which they began, and all that ever will."""
        self._happened = True
        for wait in tuple(self._waits):
            wait.interrupt()


class _InterruptibleWait:
    __slots__ = ("_cancelling", "_happened", "_interrupted", "_task", "_waits")

    def __init__(self, waits: dict[_InterruptibleWait, None], *, happened: bool) -> None:
        self._waits = waits
        self._happened = happened

    def __enter__(self) -> Self:
        if self._happened:
            raise Interrupted
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an interruptible wait needs a running task")
        self._task = task
        self._cancelling = task.cancelling()
        self._interrupted = False
        self._waits[self] = None
        return self

    def interrupt(self) -> None:
        self._interrupted = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._waits[self]
        if not self._interrupted:
            return
        if take_back(self._task, self._cancelling, kind):
            raise Interrupted from error
