"""Has aiormq read messages whose properties it cannot decode, instead of ending the connection.

RabbitMQ takes any bytes as properties: a name that is not UTF-8, or a time in the year 600,000.
pamqp refuses them, and aiormq then closes the connection. RabbitMQ requeues the message, so that
the next connection would end the same way: one forged message, and a lease could never be taken
again.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import Any, Final, cast

import aiormq.connection
from aiormq.exceptions import InvalidFrameError
from pamqp.commands import Basic
from pamqp.header import ContentHeader

_PREAMBLE: Final = Struct(">BHIHHQ")
"""The type, channel and size of a frame (AMQP 0-9-1, section 4.2.3), and of a content header its
class, weight and the size of the body (section 4.2.6.1)."""

_HEADER_TYPE: Final = 2


class _Recorder:
    """A stream that keeps what was read since it was last asked."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._read = bytearray()

    async def readexactly(self, size: int) -> bytes:
        data = await self._reader.readexactly(size)
        self._read += data
        return data

    def take(self) -> bytes:
        data, self._read = bytes(self._read), bytearray()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


class TolerantReceiver(aiormq.connection.FrameReceiver):
    """Reads frames. A message whose properties cannot be decoded comes without any."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._recorder = _Recorder(reader)
        super().__init__(cast(asyncio.StreamReader, self._recorder))

    async def get_frame(self) -> Any:
        try:
            return await super().get_frame()
        except InvalidFrameError:
            read = self._recorder.take()
            if len(read) < _PREAMBLE.size or read[0] != _HEADER_TYPE:
                raise
            _, channel, _, _, weight, size = _PREAMBLE.unpack_from(read)
            return len(read), channel, ContentHeader(weight, size, Basic.Properties())
        finally:
            self._recorder.take()


def read_tolerantly() -> None:
    """Have all connections of aiormq that are opened from now on read this way."""
    setattr(aiormq.connection, "FrameReceiver", TolerantReceiver)  # noqa: B010 - typed as final
