"""Posts a batch of events to an extension, on this machine."""

from __future__ import annotations

import asyncio
from typing import Final

import h11

from eventmesh.model.value import value

TIMEOUT: Final = 1.0
"""Seconds in which an extension must have taken a batch."""
_MAX_READ: Final = 16 * 1024
"""Bytes of an answer that are read: only its status matters."""


@value
class Destination:
    """Where an extension listens: a port of 127.0.0.1, and the host and path that it expects."""

    port: int
    host: str
    path: str


async def post(destination: Destination, body: bytes) -> bool:
    """Post JSON. Returns whether it was taken, with a status below 300."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _post(destination, body)
    except (OSError, TimeoutError, h11.ProtocolError):
        return False


async def _post(destination: Destination, body: bytes) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", destination.port)
    try:
        http = h11.Connection(h11.CLIENT)
        request = h11.Request(
            method="POST",
            target=destination.path,
            headers=[
                ("Host", destination.host),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ],
        )
        parts = (http.send(request), http.send(h11.Data(data=body)), http.send(h11.EndOfMessage()))
        writer.write(b"".join(part for part in parts if part))
        await writer.drain()
        return 200 <= await _read_status(http, reader) < 300  # noqa: PLR2004 successes
    finally:
        writer.close()


async def _read_status(http: h11.Connection, reader: asyncio.StreamReader) -> int:
    while True:
        event = http.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_MAX_READ))
        elif not isinstance(event, h11.InformationalResponse):
            return 0
