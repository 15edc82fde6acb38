"""Events, and the patterns by which functions subscribe to them.

An event has the attributes of CloudEvents 1.0 (https://github.com/cloudevents/spec). In a message
they are headers named `cloudEvents:…`, as the AMQP binding of CloudEvents says (section 3.1), but
for the id, type and content type, which are the message's own; the body is the event's data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic

from eventmesh.model.broker import MAX_NAME_BYTES
from eventmesh.model.errors import DeclarationError, PayloadInvalid
from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.value import value

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # Bare `Event` means that its data may be anything. A run time before 3.13 knows no defaults.
    DataT = TypeVar("DataT", default=Any)
else:
    from typing import TypeVar

    DataT = TypeVar("DataT")

ATTRIBUTE_PREFIX: Final = "cloudEvents:"
_PREFIXES = (ATTRIBUTE_PREFIX, "cloudEvents_")
"""What others may write: JMS allows no colon, and later versions of the binding prefer this."""

SPEC_VERSION: Final = "1.0"
TIMER_TYPE: Final = "eventmesh.timer"
"""The type of the event that a timer fires."""

_WORD = r"[^\s.*#\x00-\x1f\x7f\ud800-\udfff]+"
_TYPE = re.compile(rf"{_WORD}(\.{_WORD})*")
_PATTERN = re.compile(rf"({_WORD}|[*#])(\.({_WORD}|[*#]))*")


@value
class Event(Generic[DataT]):
    """A CloudEvents 1.0 event. `Event[Order]` as a parameter has its data validated as an Order.

    `id` and `source` together name it: a redelivered event has the same two. `time` is when it
    happened; for a timer's firing, the moment it was scheduled for.
    """

    type: str
    data: DataT
    id: str
    source: str
    time: datetime
    subject: str = ""
    content_type: str = JSON
    extensions: Mapping[str, str] = NO_HEADERS


def event_headers(source: str, time: float, *, subject: str = "") -> dict[str, str]:
    """Return the headers of an event that happened at `time`, in seconds since the epoch."""
    moment = datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
    headers = {
        f"{ATTRIBUTE_PREFIX}specversion": SPEC_VERSION,
        f"{ATTRIBUTE_PREFIX}source": source,
        f"{ATTRIBUTE_PREFIX}time": moment,
    }
    if subject:
        headers[f"{ATTRIBUTE_PREFIX}subject"] = subject
    return headers


def event_from(
    type: str, id: str, data: Any, content_type: str, headers: Mapping[str, str], *, created: float
) -> Event[Any]:
    """Return the event in a message; missing attributes are derived from its properties.

    Raises PayloadInvalid for an invalid time.
    """
    attributes = {
        name[len(ATTRIBUTE_PREFIX) :]: text
        for name, text in headers.items()
        if name.startswith(_PREFIXES)
    }
    attributes.pop("specversion", None)
    return Event(
        type=attributes.pop("type", type),
        data=data,
        id=attributes.pop("id", id),
        source=attributes.pop("source", "eventmesh"),
        time=parse_event_time(attributes.pop("time", ""), created),
        subject=attributes.pop("subject", ""),
        content_type=attributes.pop("datacontenttype", content_type),
        extensions=attributes,
    )


def parse_event_time(text: str, created: float) -> datetime:
    """Read the `time` attribute of an event; if it is empty, return the moment `created`.

    The text is an RFC 3339 timestamp, as CloudEvents asks for; `created` is in seconds since the
    epoch. Raises PayloadInvalid for any other text, and for a time without an offset from UTC.
    """
    try:
        if not text:
            return datetime.fromtimestamp(created, UTC)
        time = datetime.fromisoformat(text.upper())
        if time.tzinfo is None:
            raise ValueError(text)
    except (ValueError, OverflowError, OSError):
        reason = "not an RFC 3339 timestamp, such as 2024-02-29T12:00:00Z"
        raise PayloadInvalid(
            "the event does not fit",
            [{"loc": ("time",), "msg": reason, "type": "event_time"}],
        ) from None
    return time


def check_type(type: str) -> str:
    """Return the type if events of it can be emitted: words with dots between them.

    Raises DeclarationError otherwise.
    """
    if not _TYPE.fullmatch(type) or len(type.encode()) > MAX_NAME_BYTES:
        raise DeclarationError(
            f"an event cannot have the type {type!r}: write words with dots between them, "
            f"such as 'order.placed', without '*', '#' or spaces, {MAX_NAME_BYTES} bytes at most"
        )
    return type


def check_pattern(pattern: str) -> str:
    """Return the pattern if it is valid. Raises DeclarationError if not."""
    if not _PATTERN.fullmatch(pattern) or len(pattern.encode()) > MAX_NAME_BYTES:
        raise DeclarationError(
            f"{pattern!r} is not an event pattern: write words with dots between them, where '*' "
            "stands for one word and '#' for any number of words, such as 'payment.*', "
            f"{MAX_NAME_BYTES} bytes at most"
        )
    return pattern


def matches(pattern: str, type: str) -> bool:
    """Whether events of `type` reach a subscriber to `pattern`.

    The rules of an AMQP topic exchange: `*` is exactly one word, `#` is none or more.
    """
    return _compiled(pattern).fullmatch("." + type) is not None


def is_concrete(pattern: str) -> bool:
    """Whether a pattern is the type of events, without a `*` or `#`."""
    return not {"*", "#"} & set(pattern.split("."))


def covers(pattern: str, other: str) -> bool:
    """Whether whatever matches the pattern `other` matches `pattern`."""
    if is_concrete(other):
        return matches(pattern, other)
    return _covers(pattern.split("."), other.split("."))


def _covers(words: Sequence[str], others: Sequence[str]) -> bool:
    if not words:
        return not others
    first, rest = words[0], words[1:]
    if first == "#":
        return _covers(rest, others) or (bool(others) and _covers(words, others[1:]))
    if not others or others[0] == "#" or first not in ("*", others[0]):
        return False
    return _covers(rest, others[1:])


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # A '#' may stand for no word at all, and then its dot goes with it: so each word brings the
    # dot before it, and the type is matched with a dot put in front.
    first, *others = (_run(words) for words in f".{pattern}".split(".#"))
    if not others:
        return re.compile(first)
    # The first place where a run of words fits is as good as any later one. Never going back to
    # try those (atomic groups, Python 3.11) keeps a pattern with many '#' from exploding.
    *middle, last = (rf"(?:{_ANY})*?{run}" for run in others)
    return re.compile(first + "".join(f"(?>{run})" for run in middle) + last)


_ANY = r"\.[^.]++"


def _run(words: str) -> str:
    return "".join(
        _ANY if word == "*" else rf"\.{re.escape(word)}(?![^.])" for word in words.split(".")[1:]
    )
