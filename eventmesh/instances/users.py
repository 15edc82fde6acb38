"""The user of the system that runs the instances of a function, where the service is root."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_log: Final = logging.getLogger(__name__)

FIRST: Final = 61_184
LAST: Final = 65_519
"""The users that systemd gives to services which want one that nobody else has
(https://systemd.io/UIDS-GIDS/)."""


def choose_user(name: str, needed: Sequence[str]) -> int | None:
    """Return the user of the instances of the function `name`; None for that of the service.

    `needed` are the files that they read.
    Only root can start processes of other users. A user of its own may read no file that others
    may not, and no process of another function.
    """
    if os.geteuid() != 0:
        return None
    closed = next((each for file in needed for each in list_closed(file)), None)
    if closed is not None:
        _log.warning(
            "%s runs as root, as its service does: no other user may read %s. Put the code where "
            "others may read it, and its instances get a user of their own",
            name,
            closed,
        )
        return None
    digest = hashlib.sha256(name.encode()).digest()
    return FIRST + int.from_bytes(digest[:4]) % (LAST - FIRST + 1)


def list_closed(name: str) -> Iterator[Path]:
    """Return the file, if others may not read it, and the folders above that they may not enter."""
    file = Path(name).resolve()
    if not file.stat().st_mode & stat.S_IROTH:
        yield file
    for folder in file.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            yield folder
