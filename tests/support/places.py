"""Counting how many processes are somewhere at once, exactly, however they are killed."""

import fcntl
import os
from contextlib import contextmanager
from itertools import count

DOOR = 1 << 20
"""The byte that is locked by whoever looks for a place."""


class Places:
    """Numbered places that processes share: each is a byte of a file, locked while taken.

    When a process is killed, the kernel drops its locks before it closes its sockets: its places
    are free before RabbitMQ can know that it died (POSIX, fcntl: "all locks are removed when the
    process terminates").
    """

    def __init__(self, path):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        # A process never waits for a lock of its own, so it has to remember them.
        self._taken = set()

    def close(self):
        os.close(self._file)

    @contextmanager
    def taken(self):
        """Take the lowest free place while entered: number n says that n others are taken."""
        place = self._take()
        try:
            yield place
        finally:
            self._taken.remove(place)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _take(self):
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, DOOR)
        try:
            place = next(one for one in count() if one not in self._taken and self._lock(one))
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, DOOR)
        self._taken.add(place)
        return place

    def _lock(self, place):
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True
