"""Messages, which a broker carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Final

from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.value import constructor, value

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of the largest body: RabbitMQ 4's limit (https://www.rabbitmq.com/docs/limits), also for
older versions and the embedded broker."""


class _NoHeaders(dict[str, str]):
    """An empty mapping that stays empty and can be the default of a field.

    Before Python 3.12 a MappingProxyType cannot: dataclasses refuse defaults without a hash.
    """

    __hash__: ClassVar[Any] = object.__hash__

    def __setitem__(self, name: str, value: str) -> None:
        raise TypeError("all messages without headers share this mapping: use a dict of your own")


NO_HEADERS: Final[Mapping[str, str]] = _NoHeaders()


@value
class Message:
    """A body and its properties.

    `id` stays the same over all attempts. `timestamp` is the time at which the message was first
    stored (or due, if it was sent with a delay), in seconds since the epoch. `deadline` is the time
    after which no caller waits for it, on the monotonic clock of this process: with a request
    travels the time that is left, so that no host goes by another's clock, and with what is stored
    nothing does. `attempt` counts from 1. `trigger` is the kind of trigger ("invoke", "event",
    "queue", "every", …), `type` the type of an event, `caller` the function that sent it.
    `headers` are the user's, the trace context, and the provenance of a dead letter. `principal`
    is the identity of the caller: see `Invocation`. `redeliveries` is how often this attempt was
    delivered and not settled before the message was last stored.

    `sender` is the broker's user who published the message, as the broker verified it (RabbitMQ's
    user_id, https://www.rabbitmq.com/docs/validated-user-id), "" if it does not know. It is read
    only: what is published has the user of its connection. `caller` and `principal` are what that
    user says: `engine.codecs.trust.believe` decides whether they count.
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
    redeliveries: int = 0
    sender: str = ""


make_message: Final = constructor(Message)
"""Build a Message by keyword, as fast as by position."""


def check_size(message: Message) -> None:
    """Raise PayloadTooLarge for a body over MAX_BODY."""
    if len(message.body) > MAX_BODY:
        raise PayloadTooLarge(len(message.body), MAX_BODY)


def utf8(text: str) -> str:
    """Replace each lone surrogate, which UTF-8 cannot encode (RFC 3629), by "?"."""
    return text if text.isascii() else text.encode(errors="replace").decode()
