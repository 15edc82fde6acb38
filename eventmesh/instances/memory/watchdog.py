"""Memory limits where the machine has no control groups to use: a look, several times a second.

What an instance takes is the proportional set size of its processes: memory that instances share
with each other, because they were forked, is divided among them (proc(5), smaps_rollup). Where the
kernel does not show it, because the instance is another user's, it is their anonymous memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eventmesh.instances.memory.abc import Excess, MemoryGroup
from eventmesh.instances.memory.cgroups import find_kill_counter
from eventmesh.instances.tree import list_tree

INTERVAL: Final = 0.1
"""Seconds between two looks: a quick handler may take more than its limit for that long."""

RECENT: Final = 5.0
"""Seconds for which a kill of the kernel's explains an instance that was killed: the kernel counts
its kills, and does not say whom it killed."""


class WatchdogLimiter:
    """Watches each instance in a task of its own."""

    def __init__(self) -> None:
        self._kills = _Kills(find_kill_counter())

    @property
    def name(self) -> str:
        return "watchdog"

    def open(self, name: str, limit: int | None, tasks: asyncio.TaskGroup) -> MemoryGroup:
        return _Watched(tasks, name, limit, self._kills)

    async def close(self) -> None:
        """Do nothing: each task ends with its instance."""


class _Kills:
    """When the kernel last killed something of this container for want of memory."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._seen = count()
        self._risen = -RECENT

    def look(self) -> bool:
        """Whether it did so in the last seconds."""
        now, count = time.monotonic(), self._count()
        if count > self._seen:
            self._seen, self._risen = count, now
        return now - self._risen < RECENT


class _Watched:
    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        name: str,
        limit: int | None,
        kills: _Kills,
    ) -> None:
        self._kills = kills
        self._tasks = tasks
        self._name = name
        self._limit = limit
        self._peak: int | None = None
        self._exceeded = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def procs(self) -> str:
        return ""

    def watch(self, pid: int, kill: Callable[[], object]) -> None:
        if self._limit is not None:
            work = self._watch(pid, self._limit, kill)
            self._watching = self._tasks.create_task(work, name=f"watch {self._name}")

    async def _watch(self, pid: int, limit: int, kill: Callable[[], object]) -> None:
        while not self._exceeded:
            # In a thread: adding up the pages of a large process takes milliseconds.
            taken = await asyncio.to_thread(measure_tree, pid)
            self._peak = max(self._peak or 0, taken)
            self._kills.look()
            if taken > limit:
                self._exceeded = True
                kill()
            await asyncio.sleep(INTERVAL)

    def peak(self) -> int | None:
        return self._peak

    def find_excess(self, peak: int, *, killed: bool) -> Excess | None:
        del peak  # It may be small: the kernel takes whom it finds.
        if self._exceeded:
            return "limit"
        return "machine" if killed and self._kills.look() else None

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()


def measure_tree(pid: int) -> int:
    """Return the bytes that a process and its descendants take; 0 if they have ended."""
    return sum(_measure(each) for each in list_tree(pid))


def _measure(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # It has ended, or it is another user's.
        return _measure_anonymous(pid)
    return next((_to_bytes(line) for line in lines if line.startswith("Pss:")), 0)


def _measure_anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    # Not VmRSS, which has the files that all instances share, such as those of Python itself.
    return sum(_to_bytes(line) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _to_bytes(line: str) -> int:
    return int(line.split()[1]) * 1024
