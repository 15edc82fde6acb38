"""The ids of invocations and messages."""

from __future__ import annotations

import os

from eventmesh.model.broker import MAX_NAME_BYTES
from eventmesh.model.errors import DeclarationError


def new_id() -> str:
    """Return a new invocation id: 32 random hexadecimal digits.

    They come from the operating system, and not from `random`: a service that seeds `random`, or a
    process that forks, would repeat the ids of another.
    """
    return os.urandom(16).hex()


def check_id(id: str) -> str:
    """Return the id if a message can have it. Raises DeclarationError if not."""
    if len(id.encode(errors="replace")) > MAX_NAME_BYTES or not id.isprintable():
        raise DeclarationError(
            f"a message cannot have the id {id!r}: {MAX_NAME_BYTES} bytes at most, all printable"
        )
    return id
