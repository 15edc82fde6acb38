"""Memory limits where the machine has no control groups to use: a look, several times a second.

What an instance takes is the proportional set size of its processes: memory that instances share
with each other, because they were forked, is divided among them (proc(5), smaps_rollup).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eventmesh.instances.memory.abc import MemoryGroup
from eventmesh.instances.tree import list_tree

INTERVAL: Final = 0.1
"""Seconds between two looks: a quick handler may take more than its limit for that long."""


class WatchdogLimiter:
    """Watches each instance in a task of its own."""

    @property
    def name(self) -> str:
        return "watchdog"

    def open(self, name: str, limit: int | None, tasks: asyncio.TaskGroup) -> MemoryGroup:
        return _Watched(tasks, name, limit)

    async def close(self) -> None:
        """Do nothing: each task ends with its instance."""


class _Watched:
    def __init__(self, tasks: asyncio.TaskGroup, name: str, limit: int | None) -> None:
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
            if taken > limit:
                self._exceeded = True
                kill()
            await asyncio.sleep(INTERVAL)

    def peak(self) -> int | None:
        return self._peak

    def was_exceeded(self) -> bool:
        return self._exceeded

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
        return _measure_resident(pid)
    return next((_to_bytes(line) for line in lines if line.startswith("Pss:")), 0)


def _measure_resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return next((_to_bytes(line) for line in lines if line.startswith("VmRSS:")), 0)


def _to_bytes(line: str) -> int:
    return int(line.split()[1]) * 1024
