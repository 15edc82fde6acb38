"""What is possible: an asyncio protocol that speaks just enough AMQP 0-9-1, under 100 lines.

No library on the hot path: frames are walked with `struct`, deliveries make no objects, a read is
acknowledged at once and a loop pass is one write. It promises nothing: no heartbeats, no
reconnecting, no errors, bodies of one frame only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import TypeAlias, cast

from pamqp import base, frame

FRAME, METHOD, TAG = Struct(">BHI"), Struct(">HH"), Struct(">Q")
CONTENT, ACK = Struct(">HHQH"), Struct(">BHIHHQBB")
METHOD_KIND, HEADER_KIND, BODY_KIND, END = 1, 2, 3, 0xCE
DELIVER, CONFIRM = (60, 60), (60, 80)
CORRELATION, REPLY = 0x0400, 0x0200
"""Property flags: without others before them, both are at the start of a header's properties."""

Take: TypeAlias = Callable[[bytes, bytes, bytes], None]
"""Gets a delivery: its body, correlation id and reply-to."""


class Bare(asyncio.Protocol):
    """One connection, with one channel, whose deliveries go to `take`."""

    def __init__(self, take: Take, *, acknowledges: bool) -> None:
        self._take, self._acknowledges = take, acknowledges
        self._rest, self._tag, self._ids = b"", 0, (b"", b"")
        self._out: list[bytes] = []
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.unconfirmed: dict[int, None] = {}
        self.confirmed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(b"AMQP\x00\x00\x09\x01")

    def data_received(self, data: bytes) -> None:
        data, at, tag = self._rest + data, 0, self._tag
        while len(data) - at >= FRAME.size:
            kind, _, size = FRAME.unpack_from(data, at)
            start, end = at + FRAME.size, at + FRAME.size + size
            if end >= len(data):
                break
            if kind == BODY_KIND:
                self._take(data[start:end], *self._ids)
            elif kind == HEADER_KIND:
                self._ids = _ids(data, start)
            elif kind == METHOD_KIND:
                self._method(data, start, end)
            at = end + 1
        self._rest = data[at:]
        if self._acknowledges and self._tag != tag:
            self.write(ACK.pack(METHOD_KIND, 1, 13, 60, 80, self._tag, 1, END))

    def _method(self, data: bytes, start: int, end: int) -> None:
        method = METHOD.unpack_from(data, start)
        if method == DELIVER:
            (self._tag,) = TAG.unpack_from(data, start + 5 + data[start + 4])
        elif method == CONFIRM:
            (tag,) = TAG.unpack_from(data, start + 4)
            self.unconfirmed.pop(tag)
            while data[start + 12] and self.unconfirmed and next(iter(self.unconfirmed)) < tag:
                del self.unconfirmed[next(iter(self.unconfirmed))]
            self.confirmed.set()
        else:
            self._answers.put_nowait(data[start - FRAME.size : end + 1])

    def write(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._out))
        self._out.clear()

    def publish(self, method: bytes, flags: int, properties: bytes, body: bytes) -> None:
        head = CONTENT.pack(60, 0, len(body), flags) + properties
        header = FRAME.pack(HEADER_KIND, 1, len(head)) + head + b"\xce"
        self.write(method + header + FRAME.pack(BODY_KIND, 1, len(body)) + body + b"\xce")

    async def call(self, *methods: base.Frame, channel: int = 1) -> None:
        self.write(b"".join(frame.marshal(method, channel) for method in methods))
        await self._answers.get()


def _ids(data: bytes, start: int) -> tuple[bytes, bytes]:
    at, (_, _, _, flags) = start + CONTENT.size, CONTENT.unpack_from(data, start)
    if not flags or flags & ~(CORRELATION | REPLY):
        return b"", b""
    reply = at + 1 + data[at]
    id, name = data[at + 1 : reply], data[reply + 1 : reply + 1 + data[reply]]
    return id, name if flags & REPLY else b""
