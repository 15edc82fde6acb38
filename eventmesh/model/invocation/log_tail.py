"""The end of what a run has logged."""

from __future__ import annotations

from typing import Final

MAX_TAIL: Final = 4 * 1024
"""Bytes that are kept, as AWS Lambda has it
(https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html)."""


class LogTail:
    """Keeps the last lines that one run has written, for a caller in this process."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, line: bytes) -> None:
        """Add a line, without its end."""
        self._kept += line[-MAX_TAIL:] + b"\n"
        del self._kept[:-MAX_TAIL]

    def read(self) -> bytes:
        return bytes(self._kept)
