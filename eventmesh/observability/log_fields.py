"""What a log record tells beside its message."""

from __future__ import annotations

import logging
from typing import Any, Final

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has; the others are its fields."""

REDUNDANT: Final = frozenset(("outcome", "duration_ms", "error", "error_type"))
"""Fields that people need not be shown: the message of the record that has them says it all."""

CONTEXT: Final = frozenset(
    ("invocation_id", "function", "attempt", "trigger", "trace_id", "span_id")
)
"""Fields that tell which invocation a record belongs to: too long for the line of a terminal."""

_DRAWN_ID: Final = 32
"""The length of an id that was drawn at random, of which a few digits tell it from others."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was added to the record: by who logs, and by filters."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def readable(record: logging.LogRecord, without: frozenset[str]) -> str:
    """The record's fields but for some, for people, behind a space each."""
    fields = {name: value for name, value in fields_of(record).items() if name not in without}
    return "".join(f" {name}={_quoted(str(value))}" for name, value in fields.items())


def invocation_of(record: logging.LogRecord) -> str:
    """The invocation that a record belongs to, in a few characters, or ""."""
    fields = fields_of(record)
    if "invocation_id" not in fields:
        return ""
    id = str(fields["invocation_id"])
    short = id[:8] if len(id) == _DRAWN_ID else id
    attempt = fields.get("attempt", 1)
    again = f" attempt {attempt}" if attempt != 1 else ""
    return f" ({fields.get('function', '')} {short}{again})"


def _quoted(text: str) -> str:
    return text if text.isprintable() and " " not in text else repr(text)
