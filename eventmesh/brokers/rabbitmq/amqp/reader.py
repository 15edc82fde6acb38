"""Splits the bytes of a socket into frames (AMQP 0-9-1, section 4.2.3)."""

from __future__ import annotations

from collections.abc import Iterator

from eventmesh.brokers.rabbitmq.amqp import frames


class FrameReader:
    """Finds the frames in a stream of bytes, however it is split.

    It holds at most one unfinished frame of `limit` bytes. It joins the pieces once, when all have
    come, so that the cost of a frame does not depend on their number.
    """

    __slots__ = ("_missing", "_pieces", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, channel and payload of each frame that `data` completes.

        Raises ValueError for bytes that are not a frame; nothing after them can be read.
        """
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces = []
        unpack = frames.PREAMBLE.unpack_from
        place, rest, needed = 0, len(data), frames.OVERHEAD
        while rest >= frames.OVERHEAD:
            kind, channel, length = unpack(data, place)
            needed = length + frames.OVERHEAD
            if needed > self.limit:
                raise ValueError(_oversize(data[place:], needed, self.limit))
            if rest < needed:
                break
            start = place + frames.PREAMBLE.size
            end = start + length
            if data[end] != frames.END:
                raise ValueError("it does not end with a frame-end octet")
            yield kind, channel, data[start:end]
            place += needed
            rest -= needed
            needed = frames.OVERHEAD
        if rest:
            self._pieces.append(data[place:])
            self._missing = needed - rest


def _oversize(data: bytes, size: int, limit: int) -> str:
    if data.startswith(b"AMQP"):
        # A server refuses our version this way (section 4.2.2).
        version = ".".join(map(str, data[5:8]))
        return f"the server speaks AMQP {version} instead of 0.9.1: is it RabbitMQ?"
    return f"it has {size:,} bytes, and at most {limit:,} are accepted"
