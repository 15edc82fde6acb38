"""Counts what a limit refuses, for the metrics and the log."""

from __future__ import annotations

import logging
from typing import Final

from eventmesh.aio.clock import Clock

SILENCE: Final = 10.0
"""Seconds between two log lines about one limit: whoever attacks must not fill the log."""

_log: Final = logging.getLogger(__name__)


class Refusals:
    """What one limit refused: how often, and a log line about it now and then."""

    __slots__ = ("_clock", "_level", "_logged", "_what", "count")

    def __init__(self, clock: Clock, what: str, level: int = logging.WARNING) -> None:
        """`what` says what was refused, and what to do."""
        self._clock = clock
        self._what = what
        self._level = level
        self._logged: tuple[float, int] | None = None
        self.count = 0

    def add(self, detail: str = "") -> None:
        """Count one more; `detail` says which."""
        self.count += 1
        now = self._clock.now()
        if self._logged is not None and now < self._logged[0] + SILENCE:
            return
        more = self.count - 1 - (0 if self._logged is None else self._logged[1])
        self._logged = now, self.count
        _log.log(
            self._level,
            "%s%s%s",
            self._what,
            f" ({detail})" if detail else "",
            f"; {more:,} more since the last such line" if more else "",
        )
