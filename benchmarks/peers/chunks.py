"""How often a process says what it has done so far."""

from __future__ import annotations

from typing import Final

CHUNK: Final = 100
"""Messages from one report to the next, of a worker that shares its queue with others."""

PARTS: Final = 20
"""Reports of a process whose memory is watched."""
