"""What a version of the code is called that nobody has given a name."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_LENGTH: Final = 12


def find_revision(handler: Callable[..., Any], given: str | None) -> str:
    """Return the name that was given, or a digest of the file that has the function.

    "" if there is no such file, or None was given: then nothing is known of the version.
    """
    if given is None:
        return ""
    if given:
        return given
    try:
        file = inspect.getsourcefile(inspect.unwrap(handler))
        content = Path(file or "").read_bytes()
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(content).hexdigest()[:_LENGTH]
