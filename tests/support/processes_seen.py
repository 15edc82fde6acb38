"""What processes there are, as the kernel tells."""

import asyncio
import os
import time
from collections.abc import Container
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2].split()[0] not in "ZX"


async def ended(pids, seconds: float = 60.0) -> bool:
    """Wait until none of the processes runs."""
    end = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.01)
    return True


def list_below(pid: int | None = None, *, besides: Container[int] = ()) -> list[int]:
    """Return the descendants of a process, of this one if none is given.

    Args:
        besides: Neither these nor what they start: a server that other tests use may have
            processes that come and go.
    """
    found = [os.getpid() if pid is None else pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                children = map(int, task.read_text().split())
                found += (child for child in children if child not in besides)
            except OSError:
                continue
    return found[1:]


def find_parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
