"""Strings and other sized values within the properties of a message (AMQP 0-9-1, section 4.2.5)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from eventmesh.brokers.rabbitmq.limits import MAX_SHORT_STRING

LENGTH: Final = Struct(">I")
_SHORT_LENGTHS: Final = tuple(bytes((length,)) for length in range(MAX_SHORT_STRING + 1))


def write_text(text: str) -> bytes:
    """Write a short string. Raises ValueError for one that is too long."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = text.encode(errors="surrogateescape")
    length = len(encoded)
    if length > MAX_SHORT_STRING:
        raise ValueError(f"{text[:40]!r}… has {length} bytes, a short string has 255 at most")
    return _SHORT_LENGTHS[length] + encoded


def read_text(data: bytes, place: int, errors: str = "replace") -> tuple[str, int]:
    """Read the short string at `place`, and return it with its end. RabbitMQ checks no UTF-8."""
    start = place + 1
    end = start + data[place]
    if end > len(data):
        raise ValueError("a short string goes over the end of its frame")
    short = data[start:end]
    try:
        return short.decode(), end
    except UnicodeDecodeError:
        return _readable(short, errors), end


def _readable(short: bytes, errors: str) -> str:
    """Decode a short string that is not UTF-8 to a text that fits into 255 bytes again.

    The replacement character for one unreadable byte has three bytes.
    """
    text = short.decode(errors=errors)
    if errors == "surrogateescape":
        return text
    return text.encode()[:MAX_SHORT_STRING].decode(errors="ignore")


def read_sized(data: bytes, place: int) -> tuple[int, int]:
    """Return the start and end of a length-prefixed value."""
    size: int
    (size,) = LENGTH.unpack_from(data, place)
    start = place + LENGTH.size
    if start + size > len(data):
        raise ValueError(f"a header of {size:,} bytes goes over the end of its frame")
    return start, start + size
