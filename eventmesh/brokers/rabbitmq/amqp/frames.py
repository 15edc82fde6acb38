"""Frames as bytes (AMQP 0-9-1, sections 2.3 and 4.2): those of the data path."""

from __future__ import annotations

import struct
from struct import Struct
from typing import Final

from pamqp import base, commands, frame

METHOD_TYPE: Final = 1
HEADER_TYPE: Final = 2
BODY_TYPE: Final = 3
HEARTBEAT_TYPE: Final = 8
END: Final = 0xCE
OVERHEAD: Final = 8
"""Bytes of a frame that are not payload: type, channel, size and the end octet."""

SIZE_MAX: Final = 131_072
SIZE_MIN: Final = 4096
"""Bytes of the largest frame: our offer, and the size that every peer must accept (section 1.2)."""

SIZE_SLACK: Final = SIZE_MAX
"""Bytes that a frame to us may have beyond the negotiated size: RabbitMQ adds its own headers to a
message (x-delivery-count, x-death) and does not check whether they fit into one frame."""

PREAMBLE: Final = Struct(">BHI")
"""Type, channel, size of the payload."""

BASIC: Final = 60
DELIVER: Final = bytes((0, BASIC, 0, 60))
ACK: Final = bytes((0, BASIC, 0, 80))
NACK: Final = bytes((0, BASIC, 0, 120))
RETURN: Final = bytes((0, BASIC, 0, 50))

HEARTBEAT_FRAME: Final = bytes((HEARTBEAT_TYPE, 0, 0, 0, 0, 0, 0, END))
PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"

_METHOD_INDEX: Final = Struct(">I")
_ACK_FRAME: Final = Struct(">BHI4sQBB")
_ACK_SIZE: Final = 13
_CONTENT: Final = Struct(">BBHIHHQ")
_PIECE: Final = Struct(">BBHI")
"""The bytes between two payloads of a message: the end of one frame, the head of the next."""
_CONTENT_FIXED: Final = 12
HEADER_OVERHEAD: Final = OVERHEAD + _CONTENT_FIXED
"""Bytes of a content header's frame that are not properties."""
_REQUEUE: Final = 2
_MULTIPLE: Final = 1


def method(channel: int, command: base.Frame) -> bytes:
    """Encode the frame of a method with pamqp."""
    return frame.marshal(command, channel)


def parse_method(payload: bytes) -> base.Frame:
    """Parse the method of a frame. Raises ValueError for one that cannot be read."""
    try:
        (index,) = _METHOD_INDEX.unpack_from(payload)
        command: base.Frame = commands.INDEX_MAPPING[index]()
        command.unmarshal(payload[_METHOD_INDEX.size :])
    except (ArithmeticError, LookupError, OSError, TypeError, struct.error) as error:
        raise ValueError(f"its method cannot be read: {error!r}") from error
    except RecursionError:
        raise ValueError("its method cannot be read: it has tables in tables in tables") from None
    return command


def ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Encode a basic.ack (section 1.8.3.13) of one delivery, or of all up to this one."""
    return _ACK_FRAME.pack(METHOD_TYPE, channel, _ACK_SIZE, ACK, tag, multiple, END)


def requeue(channel: int, tag: int) -> bytes:
    """Encode a basic.nack with requeue. From 4.3 on, RabbitMQ counts a basic.reject."""
    return _ACK_FRAME.pack(METHOD_TYPE, channel, _ACK_SIZE, NACK, tag, _REQUEUE, END)


def publish_target(exchange: str, key: str, *, mandatory: bool) -> bytes:
    """Encode the payload of basic.publish (section 1.8.3.7), the same for all messages of a route.

    A key that came with a message, such as its reply address, may not be UTF-8: it is written byte
    for byte as it came. Raises ValueError for a text of more than 255 bytes.
    """
    name, routing = exchange.encode(), key.encode(errors="surrogateescape")
    return b"".join(
        (
            bytes((0, BASIC, 0, 40, 0, 0, len(name))),
            name,
            bytes((len(routing),)),
            routing,
            bytes((mandatory,)),
        )
    )


def publish(channel: int, target: bytes, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Encode the frames of one message: the method, the content header, and the body in pieces."""
    parts = [
        PREAMBLE.pack(METHOD_TYPE, channel, len(target)),
        target,
        _CONTENT.pack(
            END, HEADER_TYPE, channel, _CONTENT_FIXED + len(properties), BASIC, 0, len(body)
        ),
        properties,
    ]
    piece = frame_max - OVERHEAD
    for start in range(0, len(body), piece):
        chunk = body[start : start + piece]
        parts += (_PIECE.pack(END, BODY_TYPE, channel, len(chunk)), chunk)
    parts.append(b"\xce")
    return b"".join(parts)
