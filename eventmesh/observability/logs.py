"""The log of the process: JSON lines for machines, coloured lines for people on a terminal."""

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
from eventmesh.observability.log_fields import extra_fields, format_fields, redundant_fields
from eventmesh.observability.printable import indented


def configure_logging(
    log_format: LogFormat = "auto",
    level: str | int = "INFO",
    *,
    filters: Iterable[logging.Filter] = (),
    stream: TextIO | None = None,
) -> None:
    """Write the records of all loggers to `stream` (default: standard error).

    "json" writes one object a line. "text" writes lines for people, in colour on a terminal.
    "auto" is "text" on a terminal and "json" elsewhere. `filters` see every record that is written
    and may add fields to it. A second call replaces the handler of the first; other handlers stay.
    For the launcher: a library leaves the logging of its process alone.

    Raises SettingsError for an unknown format or level.
    """
    target = stream or sys.stderr
    handler = _handler(log_format, target)
    handler.set_name("eventmesh")
    for log_filter in filters:
        handler.addFilter(log_filter)
    root = logging.getLogger()
    try:
        root.setLevel(level.upper() if isinstance(level, str) else level)
    except ValueError as error:
        raise SettingsError(
            f"there is no log level {level!r}: use DEBUG, INFO, WARNING, ERROR or CRITICAL"
        ) from error
    for former in [handler for handler in root.handlers if handler.get_name() == "eventmesh"]:
        root.removeHandler(former)
        former.close()
    root.addHandler(handler)
    # It logs each lost connection as an error with a traceback; our own line says the same.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def _handler(log_format: LogFormat, stream: TextIO) -> logging.Handler:
    if log_format not in get_args(LogFormat):
        raise SettingsError(f"there is no log format {log_format!r}: use 'json', 'text' or 'auto'")
    if log_format != "json" and stream.isatty():
        # Only a process on a terminal pays for importing the colours.
        from eventmesh.observability.terminal import TerminalHandler  # noqa: PLC0415

        return TerminalHandler(stream)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if log_format == "text" else JsonFormatter())
    return handler


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    It has `timestamp` (RFC 3339, UTC), `level`, `logger`, `message`, the record's fields, and
    `exception` with the traceback if there is one.
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
        # Its own come first, and no field takes their place.
        line = own | extra_fields(record) | own
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # orjson cannot write half of a surrogate pair or an integer of more than 64 bits; the
            # standard library can, so that no record is lost for its contents.
            return json.dumps(line, default=str, skipkeys=True)


class TextFormatter(logging.Formatter):
    """A record as a line for people, with its fields at the end and a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        start = f"{_timestamp(record)} {record.levelname:<8} {record.name}:"
        line = f"{start} {record.getMessage()}{format_fields(record, redundant_fields(record))}"
        traceback = _traceback(record)
        # Texts from outside may have line breaks: no part of them begins a line.
        return indented(f"{line}\n{traceback}" if traceback else line)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and not record.exc_text:
        # Kept on the record, as the standard library does, for the next handler.
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return "\n".join(filter(None, (record.exc_text, record.stack_info)))
