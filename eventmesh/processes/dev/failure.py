"""Why services do not run, as plain values for whoever looks at the console."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from signal import Signals
from typing import Any, Final, cast

from eventmesh.processes.dev.folder import DevFolder
from eventmesh.targets.source_location import find_user_line, format_user_traceback, shorten_path

MAX_MESSAGE: Final = 4_000
"""Characters of an error's message that are shown."""

MAX_TRACEBACK: Final = 16_000
"""Characters of a traceback that are shown: its end, which says most."""


@contextmanager
def noted_failure(folder: DevFolder | None) -> Generator[None]:
    """Note an error that leaves, and let it."""
    try:
        yield
    except Exception as error:
        if folder is not None:
            folder.note_failure(describe_failure(error))
        raise


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Describe an error: its message, the place in the user's code, and the way there.

    No line of eventmesh or a library is in it. A group is described by its first error.
    """
    error = _first(error)
    line = find_user_line(error)
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    return {
        "kind": "failed",
        "at": time.time(),
        "type": type(error.__cause__ or error).__name__,
        "message": _encodable(f"{error}{notes}"[:MAX_MESSAGE]),
        "file": "" if line is None else _encodable(shorten_path(line.file)),
        "line": 0 if line is None else line.number,
        "traceback": _encodable(format_user_traceback(error)[-MAX_TRACEBACK:]),
    }


def _first(error: BaseException) -> BaseException:
    """Return the error itself, or the first one of a group."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return _first(cast(BaseExceptionGroup[BaseException], error).exceptions[0])


def describe_end(code: int) -> dict[str, Any]:
    """Describe a process that ended without saying why; `code` is negative for a signal."""
    try:
        how = f"{Signals(-code).name} ended it" if code < 0 else f"its exit code is {code}"
    except ValueError:
        how = f"signal {-code} ended it"
    return {
        "kind": "ended",
        "at": time.time(),
        "type": "",
        "message": f"The process of the services has ended: {how}.",
        "file": "",
        "line": 0,
        "traceback": "",
    }


def _encodable(text: str) -> str:
    """Return the text without halves of surrogate pairs, which UTF-8 and JSON do not have."""
    return text.encode(errors="replace").decode()
