"""What commands print: for people on a terminal, for programs elsewhere.

Results go to standard output and nothing else does.
"""

from __future__ import annotations

import sys
from typing import Any

import click
import orjson
from rich.console import Console, RenderableType

_WIDTH = 200
"""Columns where no terminal says how many there are."""


def print_json(value: Any) -> None:
    """Print a value as JSON: indented and in colour on a terminal, on one line elsewhere."""
    text = orjson.dumps(value).decode()
    if sys.stdout.isatty():
        Console().print_json(text)
    else:
        click.echo(text)


def print_table(table: RenderableType) -> None:
    """Print a table, as wide as the terminal allows."""
    console().print(table)


def console() -> Console:
    """Standard output, as wide as the terminal is."""
    width = None if sys.stdout.isatty() else _WIDTH
    # What is printed is the users' own text: square brackets and colons mean nothing.
    return Console(width=width, markup=False, emoji=False, highlight=False)
