"""The ids of invocations and messages."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from eventmesh.model.broker import MAX_NAME_BYTES
from eventmesh.model.errors import DeclarationError

_DIGITS: Final = 32
_AT_ONCE: Final = 128
"""Ids for which the operating system is asked at once: the call costs more than the bytes."""

_ids: Final = deque[str]()
os.register_at_fork(after_in_child=_ids.clear)


def new_id() -> str:
    """Return a new invocation id: 32 random hexadecimal digits. Any thread may call this.

    They come from the operating system, and not from `random`: a service that seeds `random`, or a
    process that forks, would repeat the ids of another.
    """
    try:
        return _ids.pop()
    except IndexError:
        digits = os.urandom(_AT_ONCE * _DIGITS // 2).hex()
        first, *others = (digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS))
        _ids.extend(others)
        return first


def check_id(id: str) -> str:
    """Return the id if a message can have it. Raises DeclarationError if not."""
    if len(id.encode(errors="replace")) > MAX_NAME_BYTES or not id.isprintable():
        raise DeclarationError(
            f"a message cannot have the id {id!r}: {MAX_NAME_BYTES} bytes at most, all printable"
        )
    return id
