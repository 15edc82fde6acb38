"""The last lines of this process's log, for whoever looks at the console."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from eventmesh.console.api.page import ROOT
from eventmesh.middleware.logging import InvocationFields
from eventmesh.observability.logs import TextFormatter

MAX_LINES: Final = 200
"""Records that are kept."""

MAX_LINE: Final = 2_000
"""Characters of a record that are kept: its beginning."""

MAX_TOTAL: Final = 128_000
"""Characters of all that is kept."""

_AUDIT: Final = "eventmesh.audit"
_ACCESS: Final = "eventmesh.access"


class RecentLog(logging.Handler):
    """Keeps the last records as texts: at most `MAX_LINES` of them, and `MAX_TOTAL` characters."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(TextFormatter())
        self.addFilter(_is_of_others)
        self.addFilter(InvocationFields())
        self._kept: deque[tuple[int, dict[str, Any]]] = deque()
        self._numbers = count(1)
        self._size = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  # the handler of the log itself tells of it
            return
        if len(text) > MAX_LINE:
            text = f"{text[:MAX_LINE]}…"
        line = {"at": record.created, "level": record.levelname, "text": text}
        self._kept.append((next(self._numbers), line))
        self._size += len(text)
        while len(self._kept) > MAX_LINES or self._size > MAX_TOTAL:
            _, dropped = self._kept.popleft()
            self._size -= len(dropped["text"])

    def lines(self) -> Mapping[str, Any]:
        """Return what is kept, by the numbers of the records."""
        self.acquire()  # Handlers in threads log too.
        try:
            return {str(number): line for number, line in self._kept}
        finally:
            self.release()


def _is_of_others(record: logging.LogRecord) -> bool:
    """Leave out the requests of those who look: they would push out all else."""
    if record.name == _AUDIT:
        return not record.getMessage().startswith("console: ")
    return record.name != _ACCESS or not str(getattr(record, "path", "")).startswith(ROOT)


@contextmanager
def recent_log() -> Generator[RecentLog]:
    """Keep the last records of all loggers while entered."""
    handler = RecentLog()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
