"""Frames as bytes (AMQP 0-9-1, sections 2.3 and 4.2): those that are written by hand."""

from __future__ import annotations

import struct
from struct import Struct
from typing import Final

from pamqp import base, commands, frame

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
END: Final = 0xCE
OVERHEAD: Final = 8
"""Bytes of a frame that are not payload: type, channel, size and the end octet."""

SIZE_MAX: Final = 131_072
SIZE_MIN: Final = 4096
"""Bytes of the largest frame: what we offer, and what every peer must accept (section 1.2)."""

SIZE_SLACK: Final = SIZE_MAX
"""Bytes that a frame to us may have beyond what was agreed on: RabbitMQ adds headers of its own to
a message (x-delivery-count, x-death) and does not look whether they fit into one frame."""

PREAMBLE: Final = Struct(">BHI")
"""Type, channel, size of the payload."""

BASIC: Final = 60
DELIVER: Final = bytes((0, BASIC, 0, 60))
ACK: Final = bytes((0, BASIC, 0, 80))
NACK: Final = bytes((0, BASIC, 0, 120))
RETURN: Final = bytes((0, BASIC, 0, 50))

HEARTBEAT_FRAME: Final = bytes((HEARTBEAT, 0, 0, 0, 0, 0, 0, END))
PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"

_METHOD_INDEX: Final = Struct(">I")
_ACK_FRAME: Final = Struct(">BHI4sQBB")
_ACK_SIZE: Final = 13
_CONTENT: Final = Struct(">BBHIHHQ")
_PIECE: Final = Struct(">BBHI")
"""What stands between two frames of a message: the end of one, the beginning of the next."""
_CONTENT_FIXED: Final = 12
HEADER_OVERHEAD: Final = OVERHEAD + _CONTENT_FIXED
"""Bytes of a content header's frame that are not properties."""
_REQUEUE: Final = 2
_MULTIPLE: Final = 1


def method(channel: int, command: base.Frame) -> bytes:
    """The frame of a method that pamqp knows."""
    return frame.marshal(command, channel)


def parse_method(payload: bytes) -> base.Frame:
    """The method that a frame carries. Raises ValueError for one that cannot be read."""
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
    """basic.ack (section 1.8.3.13): one delivery, or all up to this one."""
    return _ACK_FRAME.pack(METHOD, channel, _ACK_SIZE, ACK, tag, multiple, END)


def requeue(channel: int, tag: int) -> bytes:
    """basic.nack with requeue. Not basic.reject: from 4.3 on, RabbitMQ counts rejections."""
    return _ACK_FRAME.pack(METHOD, channel, _ACK_SIZE, NACK, tag, _REQUEUE, END)


def publish_target(exchange: str, key: str, *, mandatory: bool) -> bytes:
    """The payload of basic.publish (section 1.8.3.7): the same for all messages of one route.

    A key that came with a message, such as where its reply goes, may be no UTF-8: it is written
    byte for byte as it came. Raises ValueError for what is longer than 255 bytes.
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
    """The frames of one message: the method, the content header, and the body in pieces."""
    parts = [
        PREAMBLE.pack(METHOD, channel, len(target)),
        target,
        _CONTENT.pack(END, HEADER, channel, _CONTENT_FIXED + len(properties), BASIC, 0, len(body)),
        properties,
    ]
    piece = frame_max - OVERHEAD
    for start in range(0, len(body), piece):
        chunk = body[start : start + piece]
        parts += (_PIECE.pack(END, BODY, channel, len(chunk)), chunk)
    parts.append(b"\xce")
    return b"".join(parts)
