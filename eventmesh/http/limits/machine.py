"""What this process has: memory and file descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

UNKNOWN_MEMORY: Final = 1024 * 1024 * 1024
UNKNOWN_DESCRIPTORS: Final = 1024
"""What is assumed on a system that does not say."""

_V1: Final = "memory"


def find_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process may use.

    It is the least of what the machine has and of what the control groups allow in which the
    process is: version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html) or 1. `root` is where
    `proc` and `sys` are.
    """
    return min((_machine_memory(), *_group_limits(root)))


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return UNKNOWN_MEMORY


def _group_limits(root: Path) -> Iterator[int]:
    mounts = root / "sys/fs/cgroup"
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # Another system than Linux.
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if not controllers:
            yield from _read_limits(mounts, path, "memory.max")
            # Where both versions are mounted.
            yield from _read_limits(mounts / "unified", path, "memory.max")
        elif _V1 in controllers.split(","):
            yield from _read_limits(mounts / _V1, path, "memory.limit_in_bytes")


def _read_limits(mount: Path, path: str, file: str) -> Iterator[int]:
    """The limits of a group and of those above it.

    In a container the path may be that of the host, which is not there; the mount is the group.
    """
    group = PurePosixPath(path.lstrip("/"))
    for place in (group, *group.parents):
        try:
            text = (mount / place / file).read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if text.isdecimal():  # Not "max".
            yield int(text)


def find_descriptors() -> int:
    """Return how many file descriptors this process may have open."""
    try:
        import resource  # noqa: PLC0415  # Windows has none
    except ImportError:
        return UNKNOWN_DESCRIPTORS
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1024 * 1024 if most == resource.RLIM_INFINITY else most
