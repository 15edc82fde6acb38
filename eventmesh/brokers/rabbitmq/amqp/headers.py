"""The header table of a message (AMQP 0-9-1, section 4.2.5.5)."""

from __future__ import annotations

import math
from decimal import Decimal
from struct import Struct
from typing import Final

from eventmesh.brokers.rabbitmq.amqp.values import LENGTH, read_sized, read_text, write_text
from eventmesh.model.message import Message

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

_DOUBLE: Final = Struct(">d")
_INTEGER: Final = Struct(">i")
_DECIMAL: Final = Struct(">Bi")
MAX_COUNT: Final = 2**31 - 1
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


_TIME_ENTRY: Final = write_text(TIME) + b"d"
_TIMEOUT_ENTRY: Final = write_text(TIMEOUT) + b"d"
_ATTEMPT_ENTRY: Final = write_text(ATTEMPT) + b"I"
_REDELIVERIES_ENTRY: Final = write_text(REDELIVERIES) + b"I"


def write_headers(message: Message, expiration: int | None) -> bytes:
    """Write the table of a message; `expiration` is as in `encode_properties`."""
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


class Headers:
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
        # Nearly all messages come from `write_headers`, and begin with these two. A slice is
        # compared in a third of the time that `startswith` takes.
        start = place + len(_TIME_ENTRY)
        if data[place:start] == _TIME_ENTRY:
            self.time = read_seconds(_DOUBLE.unpack_from(data, start)[0])
            place = start + _DOUBLE.size
        start = place + len(_TIMEOUT_ENTRY)
        if data[place:start] == _TIMEOUT_ENTRY:
            (timeout,) = _DOUBLE.unpack_from(data, start)
            self.timeout = timeout if math.isfinite(timeout) else None
            place = start + _DOUBLE.size
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
            return min(self.redeliveries + losses, MAX_COUNT), losses
        return min(self.redeliveries + self.acquired, MAX_COUNT), self.losses

    def _take_text(self, name: str, text: str) -> None:
        if name == TRIGGER:
            self.trigger = text
        elif name == PRINCIPAL:
            self.principal = text
        elif name not in _NOTES:
            self.own[name] = text

    def _take_number(self, name: str, number: float) -> None:
        if name == TIME:
            self.time = read_seconds(number)
        elif name == TIMEOUT:
            self.timeout = number if math.isfinite(number) else None
        elif name == ATTEMPT and isinstance(number, int):
            self.attempt = min(max(number, 1), MAX_COUNT)
        elif name == REDELIVERIES and isinstance(number, int):
            self.redeliveries = min(max(number, 0), MAX_COUNT)
        elif name == _DELIVERY_COUNT and isinstance(number, int):
            self.losses = max(number, 0)
        elif name == _ACQUIRED_COUNT and isinstance(number, int):
            self.acquired = max(number, 0)
        elif name not in _NOTES:
            # As in JSON: "True" is Python's word only.
            self.own[name] = str(number).lower() if isinstance(number, bool) else str(number)


def read_seconds(number: float) -> float:
    """Return a time in seconds since the epoch; 0 for a number that is not a time."""
    seconds = number / 1000 if number > _MILLISECONDS else float(number)
    return seconds if 0 < seconds <= _LATEST else 0.0
