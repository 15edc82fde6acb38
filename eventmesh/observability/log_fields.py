"""The fields of a log record beside its message."""

from __future__ import annotations

import logging
from typing import Any, Final

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has; all others are its fields."""

REDUNDANT: Final = frozenset(("outcome", "duration_ms", "error", "error_type"))
"""Fields that repeat what the message says: text formats leave them out."""

CONTEXT: Final = frozenset(
    ("invocation_id", "function", "attempt", "trigger", "trace_id", "span_id")
)
"""Fields that identify the invocation of a record: too long for a line on a terminal."""

_RANDOM_ID_LENGTH: Final = 32
"""The length of a randomly generated id, which a few digits identify."""


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that the caller and filters added to the record."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def format_fields(record: logging.LogRecord, without: frozenset[str]) -> str:
    """Format the fields as ` name=value`, except those in `without`."""
    fields = {name: value for name, value in extra_fields(record).items() if name not in without}
    return "".join(f" {name}={_quoted(str(value))}" for name, value in fields.items())


def format_invocation(record: logging.LogRecord) -> str:
    """Format the invocation that a record belongs to in a few characters; "" if there is none."""
    fields = extra_fields(record)
    if "invocation_id" not in fields:
        return ""
    id = str(fields["invocation_id"])
    short = id[:8] if len(id) == _RANDOM_ID_LENGTH else id
    attempt = fields.get("attempt", 1)
    again = f" attempt {attempt}" if attempt != 1 else ""
    return f" ({fields.get('function', '')} {short}{again})"


def _quoted(text: str) -> str:
    return text if text.isprintable() and " " not in text else repr(text)
