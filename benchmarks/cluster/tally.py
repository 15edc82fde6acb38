"""What became of the calls of one kind of one subject."""

from __future__ import annotations

import time
from collections import Counter

from benchmarks.cluster.telling import MARK


class Gap:
    """The longest time without success, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.monotonic()

    def succeed(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._last)
        self._last = now


class Tally:
    """Counts from when it was made."""

    def __init__(self) -> None:
        self.confirmed: set[int] = set()
        self.handled: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self.calls = Gap()
        self.runs = Gap()

    def add(self, what: str, number: int, reason: str) -> None:
        if what == "confirmed":
            self.confirmed.add(number)
            self.calls.succeed()
        elif what == "handled":
            self.handled[number] += 1
            self.runs.succeed()
        else:
            self.refused[reason] += 1

    @property
    def lost(self) -> int:
        """Confirmed, and never handled."""
        return len(self.confirmed - self.handled.keys())

    @property
    def doubled(self) -> int:
        return sum(count - 1 for count in self.handled.values())


def parse(line: str) -> tuple[str, str, int, str] | None:
    """Return what a process told: what, of which kind, the number, and the reason if any."""
    if not line.startswith(MARK):
        return None
    what, kind, number, *more = line.removeprefix(MARK).split()
    return what, kind, int(number), "".join(more)
