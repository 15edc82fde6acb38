"""Chooses how the memory of instances is limited on this machine."""

from __future__ import annotations

from eventmesh.instances.memory.abc import MemoryLimiter
from eventmesh.instances.memory.cgroups import find_cgroups
from eventmesh.instances.memory.watchdog import WatchdogLimiter


def choose_limiter() -> MemoryLimiter:
    """Return control groups where this process may make them, else a watchdog.

    Never RLIMIT_AS: it counts addresses, of which numpy and Node reserve far more than they use.
    """
    return find_cgroups() or WatchdogLimiter()
