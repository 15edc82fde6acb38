"""The log at a terminal."""

from __future__ import annotations

import logging
from typing import TextIO

from rich.console import Console, ConsoleRenderable
from rich.logging import RichHandler
from rich.text import Text

from eventmesh.observability.log_fields import CONTEXT, REDUNDANT, format_fields, format_invocation


class TerminalHandler(RichHandler):
    """Writes records to a terminal, in colour, with their fields and invocation dimmed."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(
            console=Console(file=stream),
            show_path=False,
            omit_repeated_times=False,
            log_time_format="%H:%M:%S",
            rich_tracebacks=True,
        )
        self.setFormatter(logging.Formatter())

    def render_message(self, record: logging.LogRecord, message: str) -> ConsoleRenderable:
        first, newline, rest = message.partition("\n")
        fields = format_fields(record, REDUNDANT | CONTEXT) + format_invocation(record)
        return Text.assemble(self.highlighter(first), (fields, "dim"), newline, rest)
