"""The ids of invocations and messages."""

from __future__ import annotations

import os
from typing import Final

from eventmesh.model.errors import DeclarationError

_MAX_ID_BYTES: Final = 255
"""An id is a short string (AMQP 0-9-1, section 4.2.5.3)."""


def new_id() -> str:
    """A new invocation id: 32 hexadecimal digits, drawn at random.

    From the operating system, and not from `random`: a service that seeds that one, or a process
    that forks, would draw the ids of another again.
    """
    return os.urandom(16).hex()


def check_id(id: str) -> str:
    """The id, if a message can have it. DeclarationError if not."""
    if len(id.encode(errors="replace")) > _MAX_ID_BYTES or not id.isprintable():
        raise DeclarationError(
            f"a message cannot have the id {id!r}: {_MAX_ID_BYTES} bytes at most, all printable"
        )
    return id
