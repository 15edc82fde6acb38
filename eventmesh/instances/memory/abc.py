"""The interface of what limits the memory of an instance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class MemoryGroup(Protocol):
    """The processes of one instance, and their memory together."""

    @property
    def procs(self) -> str:
        """The file that a process writes "0" to, to join the group; "" if there is none."""
        ...

    def watch(self, pid: int, kill: Callable[[], object]) -> None:
        """Begin to watch the instance with this first process, if nothing else limits it.

        `kill` ends the instance; it is called once it takes more than its limit.
        """
        ...

    def peak(self) -> int | None:
        """Return the most bytes that it took so far; None if that is not known."""
        ...

    def was_exceeded(self) -> bool:
        """Whether a process was killed because the group took more than its limit."""
        ...

    async def close(self) -> None:
        """Remove the group, whose processes have ended. Does not raise."""
        ...


class MemoryLimiter(Protocol):
    """A way to limit memory that this machine has."""

    @property
    def name(self) -> str:
        """For the log: "cgroup v2", "cgroup v1", "watchdog"."""
        ...

    def open(self, name: str, limit: int | None, tasks: asyncio.TaskGroup) -> MemoryGroup:
        """Make a group that may take `limit` bytes (None: no limit). Raises OSError.

        What has to run while the group exists runs in `tasks`.
        """
        ...

    async def close(self) -> None:
        """Remove what was made for all groups, which are closed. Does not raise."""
        ...
