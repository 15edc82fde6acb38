"""`eventmesh show`: where an invocation is, or what became of it."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.table import Table

from eventmesh.cli.looking.mesh import look_at_mesh
from eventmesh.cli.text.output import add_row, print_json, print_table
from eventmesh.console.state.invocation import Found, find_invocation, found_members
from eventmesh.model.runs import Run


async def show_invocation(url: str, id: str, wait: float, *, as_json: bool) -> bool:
    """Print what is known of an id, and return whether anything is.

    Raises DeclarationError for what no id can be, and as `look_at_mesh`.
    """
    async with look_at_mesh(url, "show", wait) as source:
        found = await find_invocation(source, id)
    if as_json:
        print_json(found_members(found))
    else:
        _print(found)
    return found.state != "unknown" or bool(found.runs or found.ended)


def _print(found: Found) -> None:
    click.echo(f"{found.id}: {found.state}")
    click.echo(found.detail)
    for each in found.delayed:
        click.echo(f"delayed until {_time(each.until)}")
    chain = sorted((*found.runs, *found.ended), key=lambda each: each[1].since)
    if chain:
        table = Table("Began", "Function", "Id", "Attempt", "Outcome", "Took", "Caller", "Error")
        for _, run in chain:
            add_row(table, *_cells(run))
        print_table(table)
    for letter in found.dead:
        click.echo(f"'eventmesh dlq show {letter.function} {letter.id}' shows the dead letter")
    for what in found.incomplete:
        click.echo(f"not asked: {what}", err=True)


def _cells(run: Run) -> tuple[str, ...]:
    took = f"{run.duration * 1000:.1f} ms" if run.outcome else ""
    error = ": ".join(part for part in (run.error_type, run.error) if part)
    return (
        _time(run.since),
        run.function,
        run.id,
        str(run.attempt),
        run.outcome or "running",
        took,
        run.caller,
        error,
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "seconds")
