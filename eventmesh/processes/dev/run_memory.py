"""Carries what a process remembers of its runs over to the one that replaces it."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from eventmesh.middleware.runs import RunLog
from eventmesh.model.runs import MAX_TOLD, Run

MAX_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of the largest file that is read."""

_RUNS: Final = TypeAdapter(tuple[Run, ...])
_log: Final = logging.getLogger(__name__)


@contextmanager
def run_memory(memory: Path | None) -> Generator[RunMemory]:
    """Give what carries runs over in that file; what it restored is saved once more on leaving."""
    carried = RunMemory(memory)
    try:
        yield carried
    finally:
        carried.save()


class RunMemory:
    """The runs of one process after the other, in a file; without one it does nothing."""

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._runs: RunLog | None = None

    def restore(self, runs: RunLog) -> None:
        """Have `runs` remember those of the process before, and save them from now on."""
        if self._memory is not None:
            runs.restore(_read(self._memory))
            self._runs = runs

    def save(self) -> None:
        """Write what is remembered now."""
        if self._memory is not None and self._runs is not None:
            _write(self._memory, self._runs.save())


def _read(memory: Path) -> tuple[Run, ...]:
    try:
        if memory.stat().st_size > MAX_MEMORY:
            return ()
        return _RUNS.validate_json(memory.read_bytes())[-MAX_TOLD:]
    except FileNotFoundError:
        return ()  # It is the first process.
    except (OSError, ValueError) as error:
        _log.warning("the runs before the restart cannot be read: %s", type(error).__name__)
        return ()


def _write(memory: Path, runs: tuple[Run, ...]) -> None:
    written = memory.with_suffix(".new")
    try:
        written.write_bytes(_RUNS.dump_json(runs))
        written.replace(memory)
    except OSError as error:
        _log.warning("the runs cannot be kept over the restart: %s", error.strerror)
