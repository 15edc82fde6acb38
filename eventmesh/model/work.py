"""What a process has done of a function: counts that only grow, as processes tell each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from eventmesh.model.value import value

DURATIONS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0),
)
"""Upper bounds of the buckets of durations, in seconds. Above the last there is one more."""

MAX_COUNT: Final = 1 << 53
"""The largest count that is believed: JSON carries no larger number exactly (RFC 8259, 6)."""


@value
class Work:
    """The runs of one function that have ended since its process started.

    A batch is one run of several `items`. `failed` are those with a fault of the function: not a
    payload that is not valid, a caller who may not, a problem below 500 or a cancellation.
    `seconds` is their time together, and `durations` counts them by bucket of `DURATIONS`.
    """

    ended: int = 0
    failed: int = 0
    items: int = 0
    seconds: float = 0.0
    durations: tuple[int, ...] = ()

    def plus(self, other: Work) -> Work:
        """Return the sum of both."""
        longer, shorter = sorted((self.durations, other.durations), key=len, reverse=True)
        padded = (*shorter, *(0,) * (len(longer) - len(shorter)))
        return Work(
            self.ended + other.ended,
            self.failed + other.failed,
            self.items + other.items,
            self.seconds + other.seconds,
            tuple(one + two for one, two in zip(longer, padded, strict=True)),
        )

    def since(self, earlier: Work) -> Work:
        """Return what was done after `earlier`; none of it is below 0."""
        padded = (*earlier.durations, *(0,) * len(self.durations))
        return Work(
            max(self.ended - earlier.ended, 0),
            max(self.failed - earlier.failed, 0),
            max(self.items - earlier.items, 0),
            max(self.seconds - earlier.seconds, 0.0),
            tuple(
                max(now - before, 0) for now, before in zip(self.durations, padded, strict=False)
            ),
        )


NOTHING: Final = Work()


def check_work(work: Work) -> None:
    """Raise ValueError for counts that no process can have: another process sent them."""
    counts = (work.ended, work.failed, work.items, *work.durations)
    if len(work.durations) > len(DURATIONS) + 1:
        raise ValueError(f"it has {len(work.durations)} buckets of durations")
    if any(not 0 <= count <= MAX_COUNT for count in counts):
        raise ValueError("a count of its work is below 0, or too large")
    if not 0 <= work.seconds <= MAX_COUNT:
        raise ValueError("its work took no possible time")


def find_quantile(durations: Sequence[int], quantile: float) -> float:
    """Return the seconds that a share of the runs did not exceed, such as 0.99 of them.

    It is the upper bound of its bucket, so never too low; infinite above the last bound, and 0
    without runs.
    """
    total = sum(durations)
    if not total:
        return 0.0
    for bound, below in zip((*DURATIONS, math.inf), accumulate(durations), strict=False):
        if below >= quantile * total:
            return bound
    return math.inf
