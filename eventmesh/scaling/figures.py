"""Turns counts of a function, read again and again, into what the rule takes."""

from __future__ import annotations

from collections import deque
from typing import Final

from eventmesh.model.value import value
from eventmesh.model.work import NOTHING, Work

RATE_SECONDS: Final = 15.0
"""Seconds over which rates are taken: three heartbeats, by which processes tell their counts."""


@value
class Counts:
    """What was read of a function at one moment: `at` in seconds of a clock that only goes forward.

    `work` was done since the reading began. `waiting` wait in queues or for a permit.
    """

    at: float
    work: Work
    waiting: int
    running: int


class FunctionFigures:
    """The rates of one function over the last `RATE_SECONDS`."""

    def __init__(self) -> None:
        self._counts: deque[Counts] = deque()
        self._duration: float | None = None

    def add(self, counts: Counts) -> None:
        """Take what was read. After a gap the rates begin anew: what was between is not known."""
        if self._counts and counts.at - self._counts[-1].at > RATE_SECONDS:
            self._counts.clear()
        self._counts.append(counts)
        # One that is older stays, so that the span is a whole one.
        while len(self._counts) > 1 and counts.at - self._counts[1].at >= RATE_SECONDS:
            self._counts.popleft()
        done = self._done() if len(self._counts) > 1 else counts.work
        if done.items:
            self._duration = done.seconds / done.items

    def _done(self) -> Work:
        return self._counts[-1].work.since(self._counts[0].work)

    @property
    def latest(self) -> Counts:
        """What was read last."""
        return self._counts[-1] if self._counts else Counts(0.0, NOTHING, 0, 0)

    @property
    def duration(self) -> float | None:
        """The mean seconds of a run, or of an item of a batch; None if none has ended yet."""
        return self._duration

    @property
    def arriving(self) -> float:
        """Invocations a second: those that have ended, and those that wait or run more than before.

        0 until there are two readings.
        """
        if len(self._counts) < 2:  # noqa: PLR2004 - a rate is between two
            return 0.0
        first, last = self._counts[0], self._counts[-1]
        held = last.waiting + last.running - first.waiting - first.running
        return max(self._done().items + held, 0) / (last.at - first.at)
