"""Dead letters as tables and texts for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table

from eventmesh.cli.text.output import add_row, format_age
from eventmesh.engine.upkeep.dead_letters import DeadLetter, DeadLetterSummary
from eventmesh.model.trace_context import find_correlation_id
from eventmesh.observability.printable import indented, printable, printable_line


def summary_table(summaries: Sequence[DeadLetterSummary]) -> Table:
    """Build a table with a row for each function: how many dead letters, and their ages."""
    table = Table("Function", "Dead letters", "Oldest", "Newest")
    now = time.time()
    for summary in summaries:
        ages = (format_age(now - then) if then else "" for then in (summary.oldest, summary.newest))
        add_row(table, summary.function, str(summary.count), *ages)
    return table


def dead_letter_table(letters: Sequence[DeadLetter]) -> Table:
    """Build a table with a row for each dead letter."""
    table = Table("Id", "Last failure", "Reason", "Attempts", "Error")
    for letter in letters:
        add_row(
            table,
            letter.id,
            _format_time(letter.last_failure),
            letter.reason,
            str(letter.attempts),
            _format_error(letter),
        )
    return table


def dead_letter_text(letter: DeadLetter) -> str:
    """Build a text with everything that is known of a dead letter."""
    facts = {
        "Id": letter.id,
        "Correlation id": find_correlation_id(letter.headers, letter.id),
        "Function": letter.function,
        "Reason": letter.reason,
        "Error": _format_error(letter),
        "Attempts": str(letter.attempts),
        "Redeliveries": str(letter.redeliveries),
        "Trigger": letter.trigger,
        "Stored": _format_time(letter.created),
        "First failure": _format_time(letter.first_failure),
        "Last failure": _format_time(letter.last_failure),
        **{f"Header {printable_line(name)}": text for name, text in letter.headers.items()},
        "Content type": letter.content_type,
        "Payload": letter.payload.decode(errors="replace"),
    }
    lines = [f"{name + ':':<15} {indented(text)}" for name, text in facts.items()]
    return "\n".join([*lines, "", printable(letter.traceback)]).rstrip()


def count_dead_letters(count: int) -> str:
    """Return the number with its noun."""
    return "1 dead letter" if count == 1 else f"{count} dead letters"


def _format_error(letter: DeadLetter) -> str:
    return ": ".join(part for part in (letter.error_type, letter.error_message) if part)


def _format_time(seconds: float) -> str:
    """Format seconds since the epoch in the local time zone; "" if they are 0."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "seconds")
