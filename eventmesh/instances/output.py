"""What an instance writes: lines on its standard output and error, and log records."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import orjson

from eventmesh.engine.codecs.json import truncate_middle

MAX_LINE: Final = 64 * 1024
"""Bytes of a line; the rest of a longer one is a line of its own."""
LAST_LINES: Final = 20
"""Lines of output that are kept for the error of an instance that ends."""
MAX_KEPT: Final = 1_000
"""Characters of each of them."""
PERIOD: Final = 1.0
MAX_LINES: Final = 1_000
"""Lines of one pipe that are read in a period of seconds. Who writes more has to wait."""

MAX_LOGGERS: Final = 200
"""Loggers that one instance may name."""


class Lines(asyncio.Protocol):
    """Reads a pipe, and calls `on_line` with each line, without its end."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._received = bytearray()
        self._transport: asyncio.ReadTransport | None = None
        self._budget = MAX_LINES
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        *lines, rest = self._received.split(b"\n")
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._received = bytearray(rest)
        for line in lines:
            self._on_line(bytes(line))
        self._spend(len(lines))

    def _spend(self, lines: int) -> None:
        first = self._budget == MAX_LINES and lines > 0
        self._budget -= lines
        if first:
            asyncio.get_running_loop().call_later(PERIOD, self._refill)
        if self._budget <= 0 and self._transport is not None:
            self._transport.pause_reading()

    def _refill(self) -> None:
        if self._budget <= 0 and self._transport is not None:
            self._transport.resume_reading()
        self._budget = MAX_LINES

    def drain(self) -> None:
        """Read what is in the pipe now: it was written before anything else that is known."""
        if self._transport is None or self._budget <= 0:
            return
        pipe = self._transport.get_extra_info("pipe")
        with suppress(BlockingIOError):
            if data := os.read(pipe.fileno(), MAX_LINE):  # Its end is the transport's to see.
                self.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # Whatever it was: there is nothing more to read.
        self._transport = None
        if self._received:
            self._on_line(bytes(self._received))
            self._received.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Output:
    """Passes on to the log what an instance writes, with the fields of the run it belongs to.

    `find_fields` returns these fields: of the invocation with an id, or, given None, of the only
    one that runs. `keep_line` gets each line of its standard output and error, too, with that id.
    """

    def __init__(
        self,
        function: str,
        find_fields: Callable[[str | None], dict[str, Any]],
        keep_line: Callable[[bytes, str | None], object],
    ) -> None:
        self._log = logging.getLogger(f"eventmesh.function.{function}")
        self._find_fields = find_fields
        self._keep_line = keep_line
        self._names: set[str] = set()
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def take_line(self, line: bytes) -> None:
        """Log a line of the standard output or error, at INFO."""
        self.log_line(line, None, logging.INFO)

    def log_line(self, line: bytes, id: str | None, level: int) -> None:
        """Log a line of output of the invocation with that id; None for the only one that runs."""
        text = line.decode(errors="replace")
        self._keep_line(line, id)
        self.last.append(truncate_middle(text, MAX_KEPT))
        if text:
            self._log.log(level, "%s", text, extra=self._find_fields(id))

    def take_record(self, line: bytes) -> None:
        """Log a record that the instance's own logging made; what is none, as a line."""
        try:
            fields: Any = orjson.loads(line)
            level, name = int(fields["level"]), str(fields["logger"])
            message = str(fields["message"])
            exception = str(fields.get("exception", ""))
            extra = self._find_fields(str(fields["invocation"]) if "invocation" in fields else None)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            self.take_line(line)
            return
        log = self._find_logger(name)
        if log.isEnabledFor(level):
            record = log.makeRecord(
                log.name, level, __file__, 0, "%s", (message,), None, extra=extra
            )
            record.exc_text = exception or None
            log.handle(record)

    def _find_logger(self, name: str) -> logging.Logger:
        """Return the logger of that name. Loggers are kept for ever: an instance gets so many."""
        if name not in self._names:
            if len(self._names) >= MAX_LOGGERS or len(name) > MAX_KEPT:
                return self._log
            self._names.add(name)
        return logging.getLogger(name)
