"""Runs that go on although they are over for their callers, as a thread does after its timeout."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from eventmesh.engine.concurrency.limiter import HeldSlots, Limiter

_log: Final = logging.getLogger(__name__)


class AbandonedRuns:
    """The abandoned runs of one function in this process.

    Each keeps its permit and its mesh-wide slot until it has ended: no more run at once than may,
    and nothing is begun that would only wait for a thread while its timeout passes.
    """

    __slots__ = ("_concurrency", "_limiter", "_name", "_slots", "_was_stuck", "count")

    def __init__(
        self, name: str, limiter: Limiter, slots: HeldSlots | None, concurrency: int
    ) -> None:
        """`name` is the function's, and `concurrency` how many of its runs there may be at once."""
        self._name = name
        self._limiter = limiter
        self._slots = slots
        self._concurrency = concurrency
        self._was_stuck = False
        self.count = 0
        """How many there are now."""

    @property
    def is_stuck(self) -> bool:
        """Whether all that may run at once are abandoned: nothing of the function is begun."""
        return self.count >= self._concurrency

    def begin(self) -> Callable[[], None]:
        """Count a run that is cancelled and goes on. Call what is returned once it has ended."""
        self.count += 1
        self._limiter.keep()
        if self._slots is not None:
            self._slots.keep()
        if self.is_stuck and not self._was_stuck:
            self._was_stuck = True
            _log.error(
                "%s: this process begins no more of its runs, because all %d that it may run at "
                "once hang: they go on in their threads although they have timed out or were "
                "cancelled. Give what they wait for a timeout, or restart the process",
                self._name,
                self._concurrency,
            )
        return self._end

    def _end(self) -> None:
        self.count -= 1
        if self._slots is not None:
            self._slots.release()
        self._limiter.release()
        if self._was_stuck:
            self._was_stuck = False
            _log.warning("%s: a run that hung has ended, others are begun again", self._name)
