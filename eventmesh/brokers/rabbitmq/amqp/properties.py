"""Messages as AMQP properties, and back (AMQP 0-9-1, sections 4.2.5, 4.2.6.1 and 1.8.1).

Fields that every message has are properties, which are cheap; optional ones are headers.
docs/rabbitmq-messages.md lists their names, and how messages of other systems are read.
"""

from __future__ import annotations

import logging
import math
import struct
from decimal import Decimal
from struct import Struct
from typing import Final, NamedTuple

from eventmesh.aio.clock import Clock
from eventmesh.brokers.rabbitmq.amqp.values import LENGTH, read_sized, read_text, write_text
from eventmesh.brokers.rabbitmq.limits import MAX_SHORT_STRING
from eventmesh.model.ids import new_id
from eventmesh.model.message import JSON, NO_HEADERS, Message, make_message

ATTEMPT: Final = "em-attempt"
TRIGGER: Final = "em-trigger"
TIME: Final = "em-time"
TIMEOUT: Final = "em-timeout"
PRINCIPAL: Final = "em-principal"
REDELIVERIES: Final = "em-redeliveries"
UNREADABLE: Final = "em-unreadable"
"""A header that is set here, not sent: why the properties of a message could not be read."""

_COPIES: Final = ("CC", "BCC")
"""Headers by which RabbitMQ routes (https://www.rabbitmq.com/docs/sender-selected). It closes a
channel on which they are written as a text."""

_RESERVED: Final = frozenset((ATTEMPT, TRIGGER, TIME, TIMEOUT, PRINCIPAL, REDELIVERIES, *_COPIES))
_DELIVERY_COUNT: Final = "x-delivery-count"
_ACQUIRED_COUNT: Final = "x-acquired-count"
_NOTES: Final = frozenset(
    (
        _ACQUIRED_COUNT,
        *(
            f"x-{time}-death-{what}"
            for time in ("first", "last")
            for what in ("exchange", "queue", "reason")
        ),
    )
)
"""Headers in which RabbitMQ records the path of a message, such as through the delay ladder."""

_MORE_FLAGS: Final = 1
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
_SECONDS: Final = Struct(">Q")
_DOUBLE: Final = Struct(">d")
_INTEGER: Final = Struct(">i")
_DECIMAL: Final = Struct(">Bi")
_JSON: Final = bytes((len(JSON),)) + JSON.encode()
_PERSISTENT: Final = b"\x02"
_TRANSIENT: Final = b"\x01"
_MAX_COUNT: Final = 2**31 - 1
"""The largest `em-attempt` and `em-redeliveries` in the encoding used here."""

_STRING_KIND: Final = ord("S")
_DECIMAL_KIND: Final = ord("D")
_NUMBERS: Final = {
    ord(kind): Struct(">" + form) for kind, form in zip("tbBsuIilLfdT", "?bBhHiIqqfdQ", strict=True)
}
"""Fixed-size values by their kind (https://www.rabbitmq.com/amqp-0-9-1-errata, section 3)."""
_SKIPPED: Final = frozenset(b"AFx")
"""Arrays, tables (such as x-death) and bytes, which functions do not see as headers."""
_VOID: Final = frozenset(b"V\0")

_LATEST: Final = 253_402_214_400.0
"""The beginning of the last day of the year 9999: dates go no further, and this one exists in every
time zone."""
_MILLISECONDS: Final = 1 << 32
"""Seconds since the epoch in the year 2106: a larger timestamp is in milliseconds."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class Received(NamedTuple):
    """A message, and its redeliveries and losses (see `Delivery`), as far as RabbitMQ counts."""

    message: Message
    counts: tuple[int, int]


_FIRST_DELIVERY: Final = (0, 0)
_REDELIVERED: Final = (1, 1)
"""The counts of a queue that only says that it is not the first delivery."""


def encode_properties(
    message: Message,
    *,
    durable: bool,
    expiration: int | None = None,
    reply_to: str = "",
    correlation_id: str = "",
    user: bytes = b"",
) -> bytes:
    """Encode the property flags and list of a message.

    `expiration` is the milliseconds for which the caller of a request still waits. The deadline of
    the message itself, which is on this process's clock, is not encoded.

    `reply_to` and `correlation_id`, if given, replace those of the message. `user` is the user of
    the connection, from `encode_user`: RabbitMQ refuses any other, such as the message's sender.

    Raises ValueError for a property or header name that is too long for AMQP's short strings, and
    for a time or a number that does not fit.
    """
    try:
        flags = _HEADERS | _DELIVERY_MODE | _CONTENT_TYPE | _MESSAGE_ID | _TIMESTAMP
        parts = [
            b"",
            _JSON if message.content_type == JSON else write_text(message.content_type),
            _table(message, expiration),
            _PERSISTENT if durable else _TRANSIENT,
        ]
        if correlation_id := correlation_id or message.correlation_id:
            flags |= _CORRELATION_ID
            parts.append(write_text(correlation_id))
        if reply_to := reply_to or message.reply_to:
            flags |= _REPLY_TO
            parts.append(write_text(reply_to))
        if expiration is not None:
            flags |= _EXPIRATION
            parts.append(write_text(str(expiration)))
        parts += (write_text(message.id), _SECONDS.pack(max(int(message.timestamp), 0)))
        if message.type:
            flags |= _TYPE
            parts.append(write_text(message.type))
        if user:
            flags |= _USER_ID
            parts.append(user)
        if message.caller:
            flags |= _APP_ID
            parts.append(write_text(message.caller))
        parts[0] = _FLAGS.pack(flags)
        return b"".join(parts)
    except (OverflowError, struct.error) as error:
        raise ValueError(f"a time or a number does not fit: {error}") from error


def encode_user(user: str) -> bytes:
    """Encode a connection's user for `encode_properties`, once for all its messages.

    Nothing for one that is no short string: RabbitMQ checks the property only where it is set.
    """
    encoded = user.encode(errors="replace")
    return bytes((len(encoded),)) + encoded if 0 < len(encoded) <= MAX_SHORT_STRING else b""


_TIME_ENTRY: Final = write_text(TIME) + b"d"
_TIMEOUT_ENTRY: Final = write_text(TIMEOUT) + b"d"
_ATTEMPT_ENTRY: Final = write_text(ATTEMPT) + b"I"
_REDELIVERIES_ENTRY: Final = write_text(REDELIVERIES) + b"I"


def _table(message: Message, expiration: int | None) -> bytes:
    # The timestamp property has whole seconds, which are too coarse for an age.
    entries = [_TIME_ENTRY, _DOUBLE.pack(message.timestamp)]
    if expiration is not None:
        # Not the property alone: that of another system's message says nothing of a caller.
        entries += (_TIMEOUT_ENTRY, _DOUBLE.pack(expiration / 1000))
    if message.attempt != 1:
        entries += (_ATTEMPT_ENTRY, _INTEGER.pack(message.attempt))
    if message.redeliveries:
        entries += (_REDELIVERIES_ENTRY, _INTEGER.pack(message.redeliveries))
    if message.trigger != "invoke":
        entries.append(_text_entry(TRIGGER, message.trigger))
    if message.principal:
        entries.append(_text_entry(PRINCIPAL, message.principal))
    for name, text in message.headers.items():
        if name not in _RESERVED:
            entries.append(_text_entry(name, text))
    table = b"".join(entries)
    return LENGTH.pack(len(table)) + table


def _text_entry(name: str, text: str) -> bytes:
    encoded = text.encode(errors="replace")
    return write_text(name) + b"S" + LENGTH.pack(len(encoded)) + encoded


def receive(properties: bytes, body: bytes, clock: Clock, *, redelivered: bool) -> Received:
    """Decode the message of a delivery, however bad its properties are.

    Properties that cannot be read are left out, and the header em-unreadable says why. One bad
    message must not cost the connection: the next connection would get it again.
    """
    try:
        return decode_properties(properties, body, clock, redelivered=redelivered)
    except ValueError as error:
        _log.warning("a message came with properties that cannot be read: %s", error)
        message = Message(body, new_id(), clock.now(), headers={UNREADABLE: str(error)})
        return Received(message, _REDELIVERED if redelivered else _FIRST_DELIVERY)


def decode_properties(
    properties: bytes, body: bytes, clock: Clock, *, redelivered: bool
) -> Received:
    """Decode a message. Fields that its properties do not give get a likely value.

    What RabbitMQ delivers of requests is still wanted: it drops what has expired. So the deadline
    is the time that was left when it was sent, from now on.

    Raises ValueError for bytes that are not a property list.
    """
    try:
        return _decode(properties, body, clock, redelivered=redelivered)
    except (IndexError, struct.error) as error:
        raise ValueError(f"the list of properties ends early: {error}") from error


def _decode(properties: bytes, body: bytes, clock: Clock, *, redelivered: bool) -> Received:
    reader = _Reader(properties)
    headers = _Headers()
    flags = reader.flags
    content_type = reader.text() if flags & _CONTENT_TYPE else ""
    if flags & _ENCODING:
        reader.text()
    if flags & _HEADERS:
        reader.place = headers.read(properties, reader.place)
    reader.place += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
    # These two go back to the sender byte for byte, even if they are not UTF-8.
    correlation_id = reader.text("surrogateescape") if flags & _CORRELATION_ID else ""
    reply_to = reader.text("surrogateescape") if flags & _REPLY_TO else ""
    if flags & _EXPIRATION:
        reader.text()
    id = reader.text() if flags & _MESSAGE_ID else ""
    created = reader.number() if flags & _TIMESTAMP else 0
    type = reader.text() if flags & _TYPE else ""
    sender = reader.text() if flags & _USER_ID else ""
    caller = reader.text() if flags & _APP_ID else ""
    message = make_message(
        body=body,
        id=id or new_id(),
        timestamp=headers.time or _seconds(created) or clock.now(),
        content_type=content_type or JSON,
        headers=headers.own or NO_HEADERS,
        trigger=headers.trigger,
        attempt=headers.attempt,
        deadline=None if headers.timeout is None else clock.monotonic() + headers.timeout,
        caller=caller,
        type=type,
        reply_to=reply_to,
        correlation_id=correlation_id,
        principal=headers.principal,
        redeliveries=headers.redeliveries,
        sender=sender,
    )
    if not (redelivered or headers.losses or headers.redeliveries):
        return Received(message, _FIRST_DELIVERY)
    return Received(message, headers.count(redelivered=redelivered))


class _Reader:
    """Reads the properties of a list, one after the other; `flags` say which there are."""

    __slots__ = ("data", "flags", "place")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.flags: int
        (self.flags,) = _FLAGS.unpack_from(data)
        self.place = _FLAGS.size
        if self.flags & _MORE_FLAGS:
            raise ValueError("there are more property flags than AMQP 0-9-1 has properties")

    def text(self, errors: str = "replace") -> str:
        text, self.place = read_text(self.data, self.place, errors)
        return text

    def number(self) -> int:
        number: int
        (number,) = _SECONDS.unpack_from(self.data, self.place)
        self.place += _SECONDS.size
        return number


class _Headers:
    """The header table: eventmesh's own headers, and the others as text."""

    __slots__ = (
        "acquired",
        "attempt",
        "losses",
        "own",
        "principal",
        "redeliveries",
        "time",
        "timeout",
        "trigger",
    )

    def __init__(self) -> None:
        self.acquired = 0
        self.attempt = 1
        self.losses = 0
        self.own: dict[str, str] = {}
        self.principal = ""
        self.redeliveries = 0
        self.time = 0.0
        self.timeout: float | None = None
        self.trigger = "invoke"

    def read(self, data: bytes, place: int) -> int:
        """Read the table at `place`, and return its end. Each entry moves `place` on."""
        place, end = read_sized(data, place)
        while place < end:
            name, place = read_text(data, place)
            kind = data[place]
            place += 1
            if kind == _STRING_KIND:
                start, place = read_sized(data, place)
                self._take_text(name, data[start:place].decode(errors="replace"))
            elif kind in _NUMBERS:
                (number,) = _NUMBERS[kind].unpack_from(data, place)
                place += _NUMBERS[kind].size
                self._take_number(name, number)
            elif kind == _DECIMAL_KIND:
                places, digits = _DECIMAL.unpack_from(data, place)
                place += _DECIMAL.size
                self.own[name] = str(Decimal(digits).scaleb(-places))
            elif kind in _SKIPPED:
                _, place = read_sized(data, place)
            elif kind not in _VOID:
                raise ValueError(f"the header {name!r} has a value of an unknown type, {kind}")
        if place > end:
            raise ValueError("a header goes over the end of its table")
        return end

    def count(self, *, redelivered: bool) -> tuple[int, int]:
        """Return the redeliveries and losses of the message.

        From 4.3 on a quorum queue counts both, before that requeues and losses together. A classic
        queue only says that it is not the first delivery.
        """
        if not self.acquired:
            losses = self.losses or int(redelivered)
            return min(self.redeliveries + losses, _MAX_COUNT), losses
        return min(self.redeliveries + self.acquired, _MAX_COUNT), self.losses

    def _take_text(self, name: str, text: str) -> None:
        if name == TRIGGER:
            self.trigger = text
        elif name == PRINCIPAL:
            self.principal = text
        elif name not in _NOTES:
            self.own[name] = text

    def _take_number(self, name: str, number: float) -> None:
        if name == TIME:
            self.time = _seconds(number)
        elif name == TIMEOUT:
            self.timeout = number if math.isfinite(number) else None
        elif name == ATTEMPT and isinstance(number, int):
            self.attempt = min(max(number, 1), _MAX_COUNT)
        elif name == REDELIVERIES and isinstance(number, int):
            self.redeliveries = min(max(number, 0), _MAX_COUNT)
        elif name == _DELIVERY_COUNT and isinstance(number, int):
            self.losses = max(number, 0)
        elif name == _ACQUIRED_COUNT and isinstance(number, int):
            self.acquired = max(number, 0)
        elif name not in _NOTES:
            # As in JSON: "True" is Python's word only.
            self.own[name] = str(number).lower() if isinstance(number, bool) else str(number)


def _seconds(number: float) -> float:
    """Return a time in seconds since the epoch; 0 for a number that is not a time."""
    seconds = number / 1000 if number > _MILLISECONDS else float(number)
    return seconds if 0 < seconds <= _LATEST else 0.0
