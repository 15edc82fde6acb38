"""Messages as AMQP properties, and back (AMQP 0-9-1, sections 4.2.5, 4.2.6.1 and 1.8.1).

Fields that every message has are properties, which are cheap; optional ones are headers.
docs/rabbitmq-messages.md lists their names, and how messages of other systems are read.
"""

from __future__ import annotations

import logging
import struct
from struct import Struct
from typing import Final, NamedTuple

from eventmesh.aio.clock import Clock
from eventmesh.brokers.rabbitmq.amqp.headers import (
    UNREADABLE,
    Headers,
    read_seconds,
    write_headers,
)
from eventmesh.brokers.rabbitmq.amqp.values import read_text, write_text
from eventmesh.brokers.rabbitmq.limits import MAX_SHORT_STRING
from eventmesh.model.ids import new_id
from eventmesh.model.message import JSON, NO_HEADERS, Message, make_message

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
_JSON: Final = bytes((len(JSON),)) + JSON.encode()
_PERSISTENT: Final = b"\x02"
_TRANSIENT: Final = b"\x01"
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
            write_headers(message, expiration),
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
    headers = Headers()
    flags = reader.flags
    content_type = reader.content_type() if flags & _CONTENT_TYPE else ""
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
        timestamp=headers.time or read_seconds(created) or clock.now(),
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

    def content_type(self) -> str:
        end = self.place + len(_JSON)
        if self.data[self.place : end] == _JSON:  # That of most messages.
            self.place = end
            return JSON
        return self.text()

    def text(self, errors: str = "replace") -> str:
        text, self.place = read_text(self.data, self.place, errors)
        return text

    def number(self) -> int:
        number: int
        (number,) = _SECONDS.unpack_from(self.data, self.place)
        self.place += _SECONDS.size
        return number
