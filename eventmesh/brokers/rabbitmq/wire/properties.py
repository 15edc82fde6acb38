"""Messages as AMQP properties, and back (AMQP 0-9-1, section 4.2.6.1 and 1.8.1).

What a message always has is in properties that cost little; headers are for what it sometimes
has. Their names, and what a message of another system is taken for, are in docs/rabbitmq.md.
"""

from __future__ import annotations

import random
import struct
from struct import Struct
from typing import Final, NamedTuple

from pamqp import decode

from eventmesh.message import JSON, NO_HEADERS, Message

ATTEMPT: Final = "em-attempt"
TRIGGER: Final = "em-trigger"
TIME: Final = "em-time"
DEADLINE: Final = "em-deadline"

_CONTENT_TYPE: Final = 1 << 15
_ENCODING: Final = 1 << 14
_HEADERS: Final = 1 << 13
_DELIVERY_MODE: Final = 1 << 12
_PRIORITY: Final = 1 << 11
_CORRELATION_ID: Final = 1 << 10
_REPLY_TO: Final = 1 << 9
_EXPIRATION: Final = 1 << 8
_MESSAGE_ID: Final = 1 << 7
_TIMESTAMP: Final = 1 << 6
_TYPE: Final = 1 << 5
_USER_ID: Final = 1 << 4
_APP_ID: Final = 1 << 3

_FLAGS: Final = Struct(">H")
_LONG: Final = Struct(">I")
_LONGLONG: Final = Struct(">Q")
_DOUBLE_ENTRY: Final = Struct(">d")
_JSON: Final = bytes((len(JSON),)) + JSON.encode()
_PERSISTENT: Final = b"\x02"
_TRANSIENT: Final = b"\x01"
_TIME_ENTRY: Final = bytes((len(TIME),)) + TIME.encode() + b"d"
_DEADLINE_ENTRY: Final = bytes((len(DEADLINE),)) + DEADLINE.encode() + b"d"
_MAX_SHORT: Final = 255
_STRING: Final = ord("S")
_DOUBLE: Final = ord("d")


class Received(NamedTuple):
    """A message, and how often the broker had handed it over before, as far as it says."""

    message: Message
    redeliveries: int


def encode_properties(message: Message, *, durable: bool, expiration: int | None = None) -> bytes:
    """The property flags and list of a message; `expiration` is milliseconds.

    Raises ValueError for a property or header name that is too long for AMQP's short strings.
    """
    flags = _HEADERS | _DELIVERY_MODE | _CONTENT_TYPE | _MESSAGE_ID | _TIMESTAMP
    parts = [
        b"",
        _JSON if message.content_type == JSON else _short(message.content_type),
        _table(message),
        _PERSISTENT if durable else _TRANSIENT,
    ]
    if message.correlation_id:
        flags |= _CORRELATION_ID
        parts.append(_short(message.correlation_id))
    if message.reply_to:
        flags |= _REPLY_TO
        parts.append(_short(message.reply_to))
    if expiration is not None:
        flags |= _EXPIRATION
        parts.append(_short(str(expiration)))
    parts += (_short(message.id), _LONGLONG.pack(max(int(message.timestamp), 0)))
    if message.type:
        flags |= _TYPE
        parts.append(_short(message.type))
    if message.caller:
        flags |= _APP_ID
        parts.append(_short(message.caller))
    parts[0] = _FLAGS.pack(flags)
    return b"".join(parts)


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > _MAX_SHORT:
        raise ValueError(f"{text[:40]!r}… has {len(encoded)} bytes, a short string has 255 at most")
    return bytes((len(encoded),)) + encoded


def _table(message: Message) -> bytes:
    # Whole seconds, which is what the timestamp property has, are too coarse for an age.
    entries = [_TIME_ENTRY, _DOUBLE_ENTRY.pack(message.timestamp)]
    if message.deadline is not None:
        entries += (_DEADLINE_ENTRY, _DOUBLE_ENTRY.pack(message.deadline))
    if message.attempt != 1:
        entries.append(_text_entry(ATTEMPT, str(message.attempt)))
    if message.trigger != "invoke":
        entries.append(_text_entry(TRIGGER, message.trigger))
    for name, text in message.headers.items():
        entries.append(_text_entry(name, text))
    table = b"".join(entries)
    return _LONG.pack(len(table)) + table


def _text_entry(name: str, text: str) -> bytes:
    encoded = text.encode(errors="surrogatepass")
    return _short(name) + b"S" + _LONG.pack(len(encoded)) + encoded


def decode_properties(properties: bytes, body: bytes, now: float, *, redelivered: bool) -> Received:
    """The message of these properties and this body. What it does not say gets a likely value.

    Raises ValueError for bytes that are no property list.
    """
    try:
        return _decode(properties, body, now, redelivered=redelivered)
    except (IndexError, UnicodeDecodeError, OverflowError, struct.error, TypeError) as error:
        raise ValueError(f"this is no list of AMQP properties: {error}") from error


def _decode(properties: bytes, body: bytes, now: float, *, redelivered: bool) -> Received:
    reader = _Reader(properties)
    headers = _Headers()
    content_type = reader.text(_CONTENT_TYPE)
    reader.text(_ENCODING)
    if reader.flags & _HEADERS:
        reader.place = headers.read(properties, reader.place)
    reader.skip(_DELIVERY_MODE, 1)
    reader.skip(_PRIORITY, 1)
    correlation_id = reader.text(_CORRELATION_ID)
    reply_to = reader.text(_REPLY_TO)
    reader.text(_EXPIRATION)
    id = reader.text(_MESSAGE_ID)
    created = float(reader.number(_TIMESTAMP))
    type = reader.text(_TYPE)
    reader.text(_USER_ID)
    caller = reader.text(_APP_ID)
    message = Message(
        body,
        id or f"{random.getrandbits(128):032x}",
        headers.time or created or now,
        content_type or JSON,
        headers.own or NO_HEADERS,
        headers.trigger,
        headers.attempt,
        headers.deadline,
        caller,
        type,
        reply_to,
        correlation_id,
    )
    # A quorum queue counts; a classic one only says that it was not the first time.
    return Received(message, headers.deliveries or int(redelivered))


class _Reader:
    """Reads the property list in its order; what the flags leave out is empty."""

    __slots__ = ("data", "flags", "place")

    def __init__(self, data: bytes) -> None:
        self.data = data
        (self.flags,) = _FLAGS.unpack_from(data)
        self.place = _FLAGS.size

    def text(self, flag: int) -> str:
        if not self.flags & flag:
            return ""
        text, self.place = _text(self.data, self.place)
        return text

    def number(self, flag: int) -> int:
        if not self.flags & flag:
            return 0
        number: int
        (number,) = _LONGLONG.unpack_from(self.data, self.place)
        self.place += _LONGLONG.size
        return number

    def skip(self, flag: int, size: int) -> None:
        if self.flags & flag:
            self.place += size


class _Headers:
    """The header table: what is eventmesh's own, and the rest as text."""

    __slots__ = ("attempt", "deadline", "deliveries", "own", "time", "trigger")

    def __init__(self) -> None:
        self.attempt = 1
        self.deadline: float | None = None
        self.deliveries = 0
        self.own: dict[str, str] = {}
        self.time = 0.0
        self.trigger = "invoke"

    def read(self, data: bytes, place: int) -> int:
        size: int
        (size,) = _LONG.unpack_from(data, place)
        place += 4
        end: int = place + size
        if end > len(data):
            raise ValueError(f"a header table of {size} bytes goes over the end of its frame")
        while place < end:
            name, place = _text(data, place)
            kind = data[place]
            if kind == _STRING:
                (length,) = _LONG.unpack_from(data, place + 1)
                start = place + 5
                place = start + length
                if place > end:
                    raise ValueError(f"the header {name!r} goes over the end of its table")
                self._take_text(name, data[start:place].decode(errors="replace"))
            elif kind == _DOUBLE:
                (number,) = _DOUBLE_ENTRY.unpack_from(data, place + 1)
                place += 9
                self._take(name, number)
            else:
                consumed, other = decode.embedded_value(data[place:end])
                place += consumed
                self._take(name, other)
        return end

    def _take_text(self, name: str, text: str) -> None:
        if name == ATTEMPT:
            self.attempt = max(int(text), 1) if text.isdecimal() else 1
        elif name == TRIGGER:
            self.trigger = text
        else:
            self.own[name] = text

    def _take(self, name: str, number: object) -> None:
        match name, number:
            case _, str():
                self._take_text(name, number)
            case "em-time", float():
                self.time = number
            case "em-deadline", float():
                self.deadline = number
            case "x-delivery-count", int():
                self.deliveries = number
            case _, bool() | int() | float():
                self.own[name] = str(number)
            case _:
                pass  # Tables, lists and bytes, such as x-death: no header of a function's.


def _text(data: bytes, place: int) -> tuple[str, int]:
    start = place + 1
    end = start + data[place]
    if end > len(data):
        raise ValueError("a short string goes over the end of its frame")
    return data[start:end].decode(), end
