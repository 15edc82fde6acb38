"""Messages: what a broker carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Final

from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.value import constructor, value

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of a body that every broker carries: RabbitMQ 4's limit, for older ones and the embedded
one too (https://www.rabbitmq.com/docs/limits)."""


class _NoHeaders(dict[str, str]):
    """An empty mapping that stays empty and can be a field's default.

    A MappingProxyType cannot before Python 3.12: dataclasses refuse defaults without a hash.
    """

    __hash__: ClassVar[Any] = object.__hash__

    def __setitem__(self, name: str, value: str) -> None:
        raise TypeError("these headers belong to every message without headers: make a dict")


NO_HEADERS: Final[Mapping[str, str]] = _NoHeaders()


@value
class Message:
    """A body and its properties.

    `id` stays the same over all attempts. `timestamp` and `deadline` are seconds since the epoch:
    when the message was first stored (or due, if it was sent with a delay), and when nobody waits
    for it any more. `attempt` counts from 1. `trigger` says what made the message ("invoke",
    "event", "queue", "every", …), `type` is an event's type, `caller` the function that sent it.
    `headers` are the user's and the trace context; a dead letter's also carry where it came from.
    `principal` is the identity of whoever called, not verified yet: see `Invocation`.
    """

    body: bytes = field(repr=False)
    id: str
    timestamp: float
    content_type: str = JSON
    headers: Mapping[str, str] = field(default=NO_HEADERS, repr=False)
    trigger: str = "invoke"
    attempt: int = 1
    deadline: float | None = None
    caller: str = ""
    type: str = ""
    reply_to: str = ""
    correlation_id: str = ""
    principal: str = ""


make_message: Final = constructor(Message)
"""Makes a Message by keyword, as quickly as by position."""


def check_size(message: Message) -> None:
    """Raises PayloadTooLarge for a body over MAX_BODY."""
    if len(message.body) > MAX_BODY:
        raise PayloadTooLarge(len(message.body), MAX_BODY)


def utf8(text: str) -> str:
    """Replace each lone surrogate, which UTF-8 cannot encode (RFC 3629), by "?"."""
    return text if text.isascii() else text.encode(errors="replace").decode()
