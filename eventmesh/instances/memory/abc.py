"""The interface of what limits the memory of an instance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

Excess: TypeAlias = Literal["limit", "machine"]
"""Why an instance was killed for its memory: it took more than its limit, or the machine, or the
container that the service is in, had no more to give."""


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

    def find_excess(self, peak: int, *, killed: bool) -> Excess | None:
        """Return why a process was killed for its memory; None if none was.

        `killed` says whether the instance ended by a SIGKILL that the service has not sent, and
        `peak` is the most bytes that it took.
        """
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
