"""Prints results: for people on a terminal, for programs elsewhere.

Only results go to standard output.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import click
import orjson
from rich.console import Console, RenderableType
from rich.table import Table

from eventmesh.observability.printable import printable

_WIDTH: Final = 200
"""Columns if standard output is not a terminal."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))
"""Seconds of each unit of an age."""


def print_json(value: Any) -> None:
    """Print a value as JSON: indented and in colour on a terminal, on one line elsewhere."""
    text = orjson.dumps(value).decode()
    if sys.stdout.isatty():
        # JSON escapes C0 controls alone.
        Console().print_json(printable(text))
    else:
        click.echo(text)


def print_table(table: RenderableType) -> None:
    """Print a table, as wide as the terminal allows."""
    console().print(table)


def add_row(table: Table, *cells: str, style: str | None = None) -> None:
    """Add a row of texts, of which any may come from outside."""
    table.add_row(*map(printable, cells), style=style)


def format_age(seconds: float) -> str:
    """Format a duration in its largest unit, such as "3h"."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def console() -> Console:
    """Return a console on standard output, as wide as the terminal."""
    width = None if sys.stdout.isatty() else _WIDTH
    # The text is the user's own: square brackets and colons have no meaning in it.
    return Console(width=width, markup=False, emoji=False, highlight=False)
