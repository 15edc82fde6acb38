"""The fields of a log record beside its message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has; all others are its fields."""

_REDUNDANT: Final = frozenset(("outcome", "duration_ms", "error", "error_type"))
_REDUNDANT_OF_LOGGER: Final[Mapping[str, frozenset[str]]] = {
    "eventmesh.invocations": frozenset(("function",)),
    "eventmesh.access": frozenset(("method", "path", "status")),
}
"""Fields that repeat what the message says: text formats leave them out."""

CONTEXT: Final = frozenset(
    (
        "invocation_id",
        "correlation_id",
        "function",
        "attempt",
        "redeliveries",
        "trigger",
        "trace_id",
        "span_id",
        "bytes",
        "remote",
    )
)
"""Fields that identify an invocation or a request: too long for a line on a terminal."""

_RANDOM_ID_LENGTH: Final = 32
"""The length of a randomly generated id, which a few digits identify."""


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that the caller and filters added to the record."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def redundant_fields(record: logging.LogRecord) -> frozenset[str]:
    """Return the names of the fields that repeat what the message says."""
    return _REDUNDANT | _REDUNDANT_OF_LOGGER.get(record.name, frozenset())


def format_fields(record: logging.LogRecord, without: frozenset[str]) -> str:
    """Format the fields as ` name=value`, except those in `without`."""
    fields = {name: value for name, value in extra_fields(record).items() if name not in without}
    return "".join(f" {name}={_quoted(str(value))}" for name, value in fields.items())


def format_invocation(record: logging.LogRecord) -> str:
    """Format the invocation of a record in a few characters; "" if there is none.

    The function is left out if the message names it.
    """
    fields = extra_fields(record)
    if "invocation_id" not in fields:
        return ""
    id = str(fields["invocation_id"])
    short = id[:8] if len(id) == _RANDOM_ID_LENGTH else id
    function = "" if "function" in redundant_fields(record) else fields.get("function", "")
    attempt, redeliveries = fields.get("attempt", 1), fields.get("redeliveries", 0)
    parts = (
        str(function),
        short,
        f"attempt {attempt}" if attempt != 1 else "",
        f"redelivery {redeliveries}" if redeliveries else "",
    )
    return f" ({' '.join(part for part in parts if part)})"


def _quoted(text: str) -> str:
    return text if text.isprintable() and " " not in text else repr(text)
