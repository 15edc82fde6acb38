"""W3C Trace Context (https://www.w3.org/TR/trace-context/): the headers that belong to a trace."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from eventmesh.model.ids import new_id
from eventmesh.model.value import value

TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")
"""W3C Trace Context and Baggage: what is handed on from an invocation to what it causes."""

CORRELATION_ID: Final = "em-correlation-id"
"""The header that a run gives to what it causes: the id of the first invocation, which caused all
of it. Unlike a trace it is there whether anybody traces or not."""

TRACE_LINK: Final = "em-trace-link"
"""The header of a message that belongs to one trace and was caused by another: the traceparent of
what caused it, to which the span of its run has a link."""

MAX_CORRELATION_ID: Final = 255
"""Characters of it that are believed: as many as an id may have."""

SAMPLED: Final = 0x01
RANDOM: Final = 0x02
"""Flags of a trace: its caller records it; its id is random (level 2, section 3.2.2.5)."""

MAX_MEMBERS: Final = 32
"""Members of a tracestate; one with more is none (section 3.3.1.1)."""

MAX_STATE: Final = 512
"""Characters of a tracestate that are handed on (section 3.3.1.5)."""

LARGE_MEMBER: Final = 128
"""Characters over which a member goes first, where a tracestate is too long."""

_PARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_FIRST_VERSION: Final = "00"
_NO_VERSION: Final = "ff"
_NO_TRACE: Final = "0" * 32
_NO_PARENT: Final = "0" * 16
_KEY: Final = re.compile(
    r"[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
)
_VALUE: Final = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Of these headers, those that belong to the trace."""
    return {name: headers[name] for name in TRACE_HEADERS if name in headers}


def find_correlation_id(headers: Mapping[str, str], id: str) -> str:
    """Return the id that an invocation shares with the first one, which caused it.

    `headers` are its message's. The first one is called by its own `id`.
    """
    given = headers.get(CORRELATION_ID, "")
    return given if given and len(given) <= MAX_CORRELATION_ID and given.isprintable() else id


def caused_headers(headers: Mapping[str, str], id: str) -> dict[str, str]:
    """Return what is handed on from an invocation to what it causes."""
    return trace_headers(headers) | {CORRELATION_ID: find_correlation_id(headers, id)}


def new_span_id() -> str:
    """Return the id of a span that nobody records: 16 random hexadecimal digits, not all zero."""
    return f"{int(new_id()[:16], 16) or 1:016x}"


@value
class TraceParent:
    """Where in a trace a caller is: the ids of the trace and of its span, in hexadecimal."""

    trace: str
    parent: str
    flags: int

    def __str__(self) -> str:
        """The header, in the version that is known here."""
        return f"{_FIRST_VERSION}-{self.trace}-{self.parent}-{self.flags:02x}"


def parse_parent(lines: Sequence[str]) -> TraceParent | None:
    """Parse a traceparent; None unless there is exactly one, which keeps the rules.

    Of a later version the parts are read that this one has (section 4.3), and of its flags those
    that are known.
    """
    if len(lines) != 1:
        return None
    found = _PARENT.fullmatch(lines[0].strip(" \t"))
    if found is None or found["version"] == _NO_VERSION:
        return None
    if found["version"] == _FIRST_VERSION and found["more"] is not None:
        return None
    if found["trace"] == _NO_TRACE or found["parent"] == _NO_PARENT:
        return None
    flags = int(found["flags"], 16) & (SAMPLED | RANDOM)
    return TraceParent(found["trace"], found["parent"], flags)


def parse_state(lines: Iterable[str]) -> str:
    """Parse a tracestate that comes in one line or several; empty if it breaks a rule.

    What is longer than `MAX_STATE` loses whole members: large ones first, then from its end.
    """
    members = [text for line in lines for part in line.split(",") if (text := part.strip(" \t"))]
    if len(members) > MAX_MEMBERS or not _are_valid(members):
        return ""
    excess = len(",".join(members)) - MAX_STATE
    for member in [text for text in reversed(members) if len(text) > LARGE_MEMBER]:
        if excess > 0:
            members.remove(member)
            excess -= len(member) + 1
    while members and len(",".join(members)) > MAX_STATE:
        members.pop()
    return ",".join(members)


def _are_valid(members: Sequence[str]) -> bool:
    keys: set[str] = set()
    for member in members:
        key, equals, text = member.partition("=")
        if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(text) or key in keys:
            return False
        keys.add(key)
    return True
