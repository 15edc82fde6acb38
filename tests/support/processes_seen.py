"""What processes there are, as the kernel tells."""

import asyncio
import os
import time
from collections.abc import Container
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return _fields(Path(f"/proc/{pid}/stat"))[0] not in "ZX"
    except OSError:
        return False


async def ended(pids, seconds: float = 60.0) -> bool:
    """Wait until none of the processes runs."""
    end = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.01)
    return True


def is_stopped(pid: int) -> bool:
    """Whether no thread of a process runs, or it has ended."""
    try:
        threads = Path(f"/proc/{pid}/task").glob("*/stat")
        return all(_fields(thread)[0] in "TZX" for thread in threads)
    except OSError:  # One has ended meanwhile.
        return not is_alive(pid)


def _fields(stat: Path) -> list[str]:
    """Return what is said of a process or thread: state, parent, group and so on."""
    return stat.read_text().rpartition(") ")[2].split()


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
    return int(_fields(Path(f"/proc/{pid}/stat"))[1])
