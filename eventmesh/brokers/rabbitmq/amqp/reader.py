"""From what a socket gives to whole frames (AMQP 0-9-1, section 4.2.3)."""

from __future__ import annotations

from collections.abc import Iterator

from eventmesh.brokers.rabbitmq.amqp import frames


class FrameReader:
    """Finds the frames in a stream of bytes, however it is cut up.

    It holds one unfinished frame at the most, of `limit` bytes, and joins the pieces of it
    once, when they are all there: what a frame costs does not depend on how many they are.
    """

    __slots__ = ("_missing", "_pieces", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Type, channel and payload of each frame that `data` completes.

        Raises ValueError for what is no frame; nothing that follows can then be read.
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
        # How a server refuses the version of ours (section 4.2.2).
        version = ".".join(map(str, data[5:8]))
        return f"the server speaks AMQP {version} instead of 0.9.1: is it RabbitMQ?"
    return f"it has {size:,} bytes, and {limit:,} are the most that is taken"
