"""What the processes of one `eventmesh dev`, one after the other, tell each other in files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import orjson

Json: TypeAlias = dict[str, Any]

MAX_FILES: Final = 20
"""Files that are named of those that were saved."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the largest file that is read: what many functions declare."""

_log: Final = logging.getLogger(__name__)


class DevFolder:
    """A folder of one `eventmesh dev` that no other user may read: payloads are in it.

    The process that watches notes what was saved. The one that runs the services notes what they
    declare, or why they do not run. What cannot be written or read is missing, and stops nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def runs(self) -> Path:
        """The file of the runs that are remembered."""
        return self._path / "runs.json"

    def note_saved(self, files: Sequence[str], at: float) -> None:
        """Note that files were saved, also those whose code has not run yet."""
        waiting = self.read_saved() or {"files": [], "more": 0}
        named = list(dict.fromkeys([*waiting["files"], *files]))
        kept, more = named[:MAX_FILES], max(len(named) - MAX_FILES, 0)
        self._write("saved", {"at": at, "files": kept, "more": waiting["more"] + more})

    def read_saved(self) -> Json | None:
        """Return what was saved and has not run yet: `at`, `files`, and how many `more`."""
        return self._read("saved")

    def swap_declared(self, declared: Mapping[str, Any]) -> tuple[Json | None, Json | None]:
        """Keep what the code declares that runs now.

        Return what the code before declared, and what was saved in between; None for what is not
        there.
        """
        before, saved = self._read("declared"), self.read_saved()
        self._write("declared", declared)
        self._remove("saved")
        return before, saved

    def note_failure(self, failure: Mapping[str, Any]) -> None:
        """Note why the services do not run."""
        self._write("failure", failure)

    def take_failure(self) -> Json | None:
        """Return why the services do not run, once."""
        failure = self._read("failure")
        self._remove("failure")
        return failure

    def _read(self, name: str) -> Json | None:
        file = self._path / f"{name}.json"
        try:
            if file.stat().st_size > MAX_BYTES:
                return None
            content: object = orjson.loads(file.read_bytes())
        except (OSError, ValueError):
            return None
        return cast(Json, content) if isinstance(content, dict) else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        file = self._path / f"{name}.json"
        written = file.with_suffix(".new")
        try:
            # Whole or not at all: the process may be killed meanwhile.
            written.write_bytes(orjson.dumps(content, default=str))
            written.replace(file)
        except (OSError, TypeError) as error:
            _log.warning("%s cannot be kept over the restart: %s", name, type(error).__name__)

    def _remove(self, name: str) -> None:
        (self._path / f"{name}.json").unlink(missing_ok=True)
