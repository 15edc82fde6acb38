"""Records of the events in a mesh under test, as values to assert on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from eventmesh.durable.completion import DURABLE
from eventmesh.engine.codecs.json import decode, decode_as
from eventmesh.engine.settlement import (
    ERROR_MESSAGE,
    ERROR_TYPE,
    FIRST_FAILURE,
    REASON,
    TRACEBACK,
    without_provenance,
)
from eventmesh.model.event import ATTRIBUTE_PREFIX, TIMER_TYPE
from eventmesh.model.message import Message
from eventmesh.model.topology import (
    EVENTS,
    QUEUE_SCHEME,
    Route,
    broadcast,
    dead_letters,
    inbox,
)
from eventmesh.model.value import value

T = TypeVar("T")

HISTORY: Final = 10_000
"""Records that are kept; the oldest go first."""

_INBOX: Final = inbox("").name
_DEAD: Final = dead_letters("").name
_BROADCAST: Final = broadcast("", "").name.rstrip(".") + "."


@value
class Record:
    """A message, the function that sent it ("" for the test), and the time of the mesh's clock.

    `id` is that of the invocation: it stays the same over all attempts and in the dead letter.
    """

    payload: bytes
    id: str = field(repr=False)
    caller: str
    time: datetime = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def json(self) -> Any:
        """The payload as plain JSON values."""
        return decode(self.payload)

    def read(self, type: type[T]) -> T:
        """Decode the payload as a value of `type`. Raises PayloadInvalid if it does not fit."""
        return decode_as(self.payload, TypeAdapter(type))


RecordT = TypeVar("RecordT", bound=Record)


@value
class Invoked(Record):
    """A synchronous call of `function`, by another function or by the test."""

    function: str


@value
class Sent(Record):
    """An asynchronous invocation of `function` ("queue:NAME" for a queue), in `delay` seconds."""

    function: str
    delay: float


@value
class Emitted(Record):
    """An event of `type`, with its CloudEvents attributes, in `delay` seconds."""

    type: str
    subject: str
    source: str
    delay: float


@value
class Fired(Record):
    """A timer (`trigger` "every", "cron" or "at") fired `function`; it was due at `scheduled`."""

    function: str
    trigger: str
    scheduled: datetime


@value
class Retried(Record):
    """A run of `function` failed, and `attempt` follows in `delay` seconds.

    `attempt` counts from 1. It is the number of the failed attempt if that one does not count,
    such as when it was throttled.
    """

    function: str
    attempt: int
    delay: float


@value
class DeadLettered(Record):
    """An invocation of `function` became a dead letter after `attempts`, because of `reason`.

    `error_type`, `error_message` and `traceback` are those of the last failed run, if any.
    """

    function: str
    attempts: int
    reason: str
    error_type: str
    error_message: str
    traceback: str = field(repr=False)


class History:
    """The latest HISTORY records of a broker's messages, in order."""

    def __init__(self) -> None:
        self._records = deque[Record](maxlen=HISTORY)

    def select(self, kind: type[RecordT]) -> list[RecordT]:
        """Return the records of a kind, in their order."""
        return [record for record in self._records if isinstance(record, kind)]

    def record_request(self, route: Route, message: Message, now: float) -> None:
        """Record a synchronous call."""
        self._records.append(Invoked(*_record_fields(message, now), route.name))

    def record_publish(self, route: Route, message: Message, delay: float, now: float) -> None:
        """Record a message that the broker has stored.

        Those by which executions of durable functions go on are the engine's own, and left out.
        """
        record = _record(route, message, delay, now)
        if message.trigger != DURABLE or not isinstance(record, Sent):
            self._records.append(record)


def _record(route: Route, message: Message, delay: float, now: float) -> Record:
    carried = _record_fields(message, now)
    headers, function = message.headers, _function(route)
    if route.exchange == EVENTS:
        subject = headers.get(f"{ATTRIBUTE_PREFIX}subject", "")
        source = headers.get(f"{ATTRIBUTE_PREFIX}source", "")
        return Emitted(*carried, message.type, subject, source, delay)
    if route.key.startswith(_DEAD):
        failure = (headers.get(name, "") for name in (REASON, ERROR_TYPE, ERROR_MESSAGE, TRACEBACK))
        return DeadLettered(*carried, function, message.attempt, *failure)
    if FIRST_FAILURE in headers:
        return Retried(*carried, function, message.attempt, delay)
    if message.type == TIMER_TYPE:
        scheduled = datetime.fromisoformat(headers[f"{ATTRIBUTE_PREFIX}time"])
        return Fired(*carried, function, message.trigger, scheduled)
    return Sent(*carried, function, delay)


def _record_fields(
    message: Message, now: float
) -> tuple[bytes, str, str, datetime, Mapping[str, str]]:
    time = datetime.fromtimestamp(now, UTC)
    own_headers = without_provenance(message.headers)
    return message.body, message.id, message.caller, time, own_headers


def _function(route: Route) -> str:
    for prefix in (_INBOX, _DEAD):
        if route.key.startswith(prefix):
            return route.key.removeprefix(prefix)
    if route.key.startswith(_BROADCAST):
        return route.key.removeprefix(_BROADCAST).rpartition(".")[0]
    return f"{QUEUE_SCHEME}{route.key}"
