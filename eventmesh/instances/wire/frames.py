"""Frames on the socket between a service and one of its instances.

A frame is its length (u32, of what follows it), its kind (u8), a number (u32), the length of its
head (u32), the head, which is JSON, and the body.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, cast

import orjson

from eventmesh.model.message import MAX_BODY

_LENGTH: Final = struct.Struct("!I")
_FIXED: Final = struct.Struct("!BII")

MAX_FROM_INSTANCE: Final = MAX_BODY + 1024 * 1024
"""Bytes of a frame that a service accepts from an instance: the largest body, and a head."""
MAX_FROM_SERVICE: Final = 2**32 - 1


class Kind(IntEnum):
    """What a frame says. The number of a frame is that of a run, or of a call."""

    # From the service.
    RUN = 1
    CANCEL = 2
    NEXT = 3
    CLOSE = 4
    ANSWER = 5
    STOP = 6
    # From the instance.
    READY = 17
    FAILED = 18
    RESULT = 19
    ITEM = 20
    END = 21
    CALL = 22


OnFrame = Callable[[Kind, int, bytes, bytes], None]
"""Takes the kind, the number, the head and the body of a frame."""


class FrameError(ValueError):
    """The other side sent what is no frame, or one that is too large."""


class Frames(asyncio.Protocol):
    """One end of the socket. `on_frame` and `on_close` are called in the event loop.

    `on_close` gets the error that ended the connection, or None.
    """

    def __init__(
        self, on_frame: OnFrame, on_close: Callable[[Exception | None], None], most: int
    ) -> None:
        self._on_frame = on_frame
        self._on_close = on_close
        self._most = most
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None

    def send(self, kind: Kind, number: int, head: Any = None, body: bytes = b"") -> None:
        """Write a frame. Does nothing once the connection is closed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        packed = b"" if head is None else orjson.dumps(head)
        length = _FIXED.size + len(packed) + len(body)
        fixed = _FIXED.pack(kind, number, len(packed))
        transport.write(b"".join((_LENGTH.pack(length), fixed, packed, body)))

    @property
    def unsent(self) -> int:
        """The bytes that were written, and that the other side has not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_close(self._error or exc)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        try:
            while True:
                begin = start + _LENGTH.size
                if len(received) < begin:
                    break
                (length,) = _LENGTH.unpack_from(received, start)
                self._check_length(length)
                end = begin + length
                if len(received) < end:
                    break
                self._take(bytes(received[begin:end]))
                start = end
        except FrameError as error:
            self._error = error
            self._received = bytearray()
            self.close()
            return
        if start:
            del received[:start]

    def _check_length(self, length: int) -> None:
        if length > self._most or length < _FIXED.size:
            raise FrameError(f"a frame of {length:,} bytes: the limit is {self._most:,}")

    def _take(self, frame: bytes) -> None:
        kind, number, head_length = _FIXED.unpack_from(frame)
        body_at = _FIXED.size + head_length
        if body_at > len(frame):
            raise FrameError("the head of a frame is longer than the frame")
        try:
            known = Kind(kind)
        except ValueError:
            raise FrameError(f"there is no frame of kind {kind}") from None
        self._on_frame(known, number, frame[_FIXED.size : body_at], frame[body_at:])


def read_json(head: bytes) -> dict[str, Any]:
    """Read a head that is any JSON object. Raises FrameError."""
    try:
        parts: Any = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"the head of a frame is not JSON: {error}") from None
    if not isinstance(parts, dict):
        raise FrameError("the head of a frame is not a JSON object")
    return cast(dict[str, Any], parts)
