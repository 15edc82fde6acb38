"""A process and its descendants, as the kernel tells."""

from __future__ import annotations

from pathlib import Path


def list_tree(pid: int) -> list[int]:
    """Return the numbers of a process and its descendants."""
    found = [pid]
    for each in found:  # The list grows while it is read.
        try:
            text = Path(f"/proc/{each}/task/{each}/children").read_text(encoding="ascii")
        except OSError:
            continue
        found += map(int, text.split())
    return found
