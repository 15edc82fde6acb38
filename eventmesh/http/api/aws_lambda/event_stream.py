"""Frames of `application/vnd.amazon.eventstream`, in which AWS's clients get streams.

https://smithy.io/2.0/aws/amazon-eventstream.html. A message is its length, the length of its
headers, a checksum of both, the headers, the payload, and a checksum of all of that.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from eventmesh.model.message import BYTES, JSON

EVENT_STREAM: Final = "application/vnd.amazon.eventstream"

MAX_CHUNK: Final = 1024 * 1024
"""Bytes of a payload in one message; clients take 16 MiB at most."""

_STRING: Final = 7


def encode_chunk(data: bytes) -> bytes:
    """Return the messages with a part of a response."""
    parts = (data[start : start + MAX_CHUNK] for start in range(0, len(data), MAX_CHUNK))
    return b"".join(_encode_event("PayloadChunk", BYTES, part) for part in parts)


def encode_complete(members: Mapping[str, Any]) -> bytes:
    """Return the message that ends a response: `ErrorCode`, `ErrorDetails`, `LogResult`."""
    return _encode_event("InvokeComplete", JSON, orjson.dumps(members))


def _encode_event(event: str, content_type: str, payload: bytes) -> bytes:
    return encode_message(
        {":event-type": event, ":content-type": content_type, ":message-type": "event"}, payload
    )


def encode_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return a message; all its headers are texts."""
    head = b"".join(_encode_header(name, text) for name, text in headers.items())
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _encode_header(name: str, text: str) -> bytes:
    key, data = name.encode(), text.encode()
    return struct.pack(">B", len(key)) + key + struct.pack(">BH", _STRING, len(data)) + data
