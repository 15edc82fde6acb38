"""What a process holds in memory."""

from __future__ import annotations

import re
from pathlib import Path


def resident(process: str = "self") -> float:
    """The resident set of a process, in megabytes (VmRSS of proc(5))."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc", process, "status").read_text())
    if found is None:
        raise RuntimeError(f"/proc/{process}/status says nothing of memory: is it a zombie?")
    return int(found[1]) / 1024
