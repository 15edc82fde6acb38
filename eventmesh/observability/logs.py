"""The log of the process: JSON lines for machines, coloured lines for people at a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO, get_args

import orjson

from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import LogFormat
from eventmesh.observability.log_fields import REDUNDANT, fields_of, readable


def configure_logging(
    log_format: LogFormat = "auto",
    level: str | int = "INFO",
    *,
    filters: Iterable[logging.Filter] = (),
    stream: TextIO | None = None,
) -> None:
    """Write the records of all loggers to `stream` (standard error unless given).

    "json" writes one object a line, "text" lines for people, in colour at a terminal; "auto" is
    "text" at a terminal and "json" elsewhere. `filters` see every record that is written, and may
    add fields to it. Called again it replaces what it set up before; handlers of others stay.
    For the launcher: a library leaves the logging of its process alone.

    Raises SettingsError for a format or level that does not exist.
    """
    target = stream or sys.stderr
    handler = _handler(log_format, target)
    handler.set_name("eventmesh")
    for one in filters:
        handler.addFilter(one)
    root = logging.getLogger()
    try:
        root.setLevel(level.upper() if isinstance(level, str) else level)
    except ValueError as error:
        raise SettingsError(
            f"there is no log level {level!r}: use DEBUG, INFO, WARNING, ERROR or CRITICAL"
        ) from error
    for former in [one for one in root.handlers if one.get_name() == "eventmesh"]:
        root.removeHandler(former)
        former.close()
    root.addHandler(handler)
    # Each lost connection is an error with a traceback to it; a line of our own says the same.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def _handler(log_format: LogFormat, stream: TextIO) -> logging.Handler:
    if log_format not in get_args(LogFormat):
        raise SettingsError(f"there is no log format {log_format!r}: use 'json', 'text' or 'auto'")
    if log_format != "json" and stream.isatty():
        # Only a process at a terminal pays for loading what colours its log.
        from eventmesh.observability.terminal import TerminalHandler  # noqa: PLC0415

        return TerminalHandler(stream)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if log_format == "text" else JsonFormatter())
    return handler


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    `timestamp` (RFC 3339, UTC), `level`, `logger`, `message`, the record's fields, and
    `exception` with the traceback where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        own: dict[str, Any] = {
            "timestamp": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        traceback = _traceback(record)
        if traceback:
            own["exception"] = traceback
        line = own | fields_of(record) | own  # Its own come first, and no field takes their place.
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # What orjson cannot write (half of a surrogate pair, an integer of more than 64 bits)
            # the standard library can: no record is lost for what somebody put into it.
            return json.dumps(line, default=str, skipkeys=True)


class TextFormatter(logging.Formatter):
    """A record as a line for people, its fields at the end, a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        start = f"{_timestamp(record)} {record.levelname:<8} {record.name}:"
        line = f"{start} {record.getMessage()}{readable(record, REDUNDANT)}"
        traceback = _traceback(record)
        return f"{line}\n{traceback}" if traceback else line


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and not record.exc_text:
        # Kept on the record, as the standard library does: the next handler need not make it.
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return "\n".join(filter(None, (record.exc_text, record.stack_info)))
