"""The user of the system that runs the instances of a function, where the service is root."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventmesh.engine.function import AnyFunction

_log: Final = logging.getLogger(__name__)

FIRST: Final = 61_184
LAST: Final = 65_519
"""The users that systemd gives to services which want one that nobody else has
(https://systemd.io/UIDS-GIDS/)."""


def choose_user(function: AnyFunction) -> int | None:
    """Return the user of a function's instances; None for that of the service.

    Only root can start processes of other users. A user of its own may read no file that others
    may not, and no process of another function.
    """
    if os.geteuid() != 0:
        return None
    # The handler may import more of all of them when it runs.
    needed = (sys.modules[function.handler.__module__].__file__, __file__, os.__file__)
    closed = next((each for file in needed if file for each in list_closed(file)), None)
    if closed is not None:
        _log.warning(
            "%s runs as root, as its service does: no other user may read %s. Put the code where "
            "others may read it, and its instances get a user of their own",
            function.full_name,
            closed,
        )
        return None
    digest = hashlib.sha256(function.full_name.encode()).digest()
    return FIRST + int.from_bytes(digest[:4]) % (LAST - FIRST + 1)


def list_closed(name: str) -> Iterator[Path]:
    """Return the file, if others may not read it, and the folders above that they may not enter."""
    file = Path(name).resolve()
    if not file.stat().st_mode & stat.S_IROTH:
        yield file
    for folder in file.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            yield folder
