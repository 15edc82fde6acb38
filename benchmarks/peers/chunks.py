"""How often a worker that shares its queue with others says what it has done."""

from __future__ import annotations

from typing import Final

CHUNK: Final = 100
"""Messages from one report to the next."""
