"""The log on a terminal."""

from __future__ import annotations

import logging
from typing import Final, TextIO

from rich.console import Console, ConsoleRenderable
from rich.logging import RichHandler
from rich.text import Text
from rich.traceback import Trace, Traceback

from eventmesh.observability.log_fields import (
    CONTEXT,
    format_fields,
    format_invocation,
    redundant_fields,
)
from eventmesh.observability.printable import printable, printable_line

_OUTCOME_STYLES: Final = {
    logging.INFO: "green",
    logging.WARNING: "yellow",
    logging.ERROR: "bold red",
}


class TerminalHandler(RichHandler):
    """Writes records to a terminal, in colour, with their fields and invocation dimmed.

    The environment variable NO_COLOR switches the colours off, see https://no-color.org.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(
            console=Console(file=stream),
            show_path=False,
            omit_repeated_times=False,
            log_time_format="%H:%M:%S",
            rich_tracebacks=True,
        )
        self.setFormatter(logging.Formatter())

    def render(
        self,
        *,
        record: logging.LogRecord,
        traceback: Traceback | None,
        message_renderable: ConsoleRenderable,
    ) -> ConsoleRenderable:
        if traceback is not None:
            _make_printable(traceback.trace)
        return super().render(
            record=record, traceback=traceback, message_renderable=message_renderable
        )

    def render_message(self, record: logging.LogRecord, message: str) -> ConsoleRenderable:
        first, newline, rest = printable(message).partition("\n")
        text = self.highlighter(first)
        outcome = vars(record).get("outcome")
        if isinstance(outcome, str):
            text.highlight_words([outcome], _OUTCOME_STYLES.get(record.levelno, ""))
        fields = format_fields(record, redundant_fields(record) | CONTEXT)
        fields = printable_line(fields + format_invocation(record))
        return Text.assemble(text, (fields, "dim"), newline, rest)


def _make_printable(trace: Trace) -> None:
    """Escape what exceptions say: it may quote texts from outside."""
    for stack in trace.stacks:
        stack.exc_value = printable(stack.exc_value)
        stack.notes = [printable(note) for note in stack.notes]
        for nested in stack.exceptions:
            _make_printable(nested)
