"""`eventmesh store`: the tables of a store."""

from __future__ import annotations

import time
from dataclasses import asdict

import click
from rich.table import Table

from eventmesh.cli.text.output import add_row, format_age, print_json, print_table
from eventmesh.cli.with_store import json_option, store_option, with_store


@click.group()
def command() -> None:
    """Show a store, and bring its tables up to date.

    A store is the database of services that use ctx.transaction().
    """


@command.command()
@store_option
def migrate(*, store: str | None) -> None:
    """Create the tables eventmesh_*, or change them to what this version needs.

    Services do so themselves when they start, unless EVENTMESH_STORE_MIGRATE is "never".
    """
    before = with_store(store, lambda admin: admin.migrate())
    if before.is_current:
        click.echo(f"The tables are of version {before.wanted} already.")
    else:
        click.echo(
            f"The tables are of version {before.wanted} now, from {before.current or 'none'}."
        )


@command.command()
@json_option
@store_option
def status(*, as_json: bool, store: str | None) -> None:
    """Show the version of the tables, and what waits in the outbox of each service."""
    found = with_store(store, lambda admin: admin.status())
    if as_json:
        print_json({**asdict(found), "current": found.schema.is_current})
        return
    click.echo(f"store    {found.place}")
    click.echo(f"version  {found.schema.current or 'none'} ({_advice(found.schema)})")
    if not found.outbox:
        return
    table = Table("service", "pending", "oldest", box=None)
    for each in found.outbox:
        age = "" if each.oldest is None else format_age(time.time() - each.oldest)
        add_row(table, each.service, f"{each.pending:,}", age)
    print_table(table)


def _advice(schema: object) -> str:
    from eventmesh.store.migrate import SchemaStatus  # noqa: PLC0415 - not for --help

    assert isinstance(schema, SchemaStatus)  # noqa: S101 - what the caller got
    if schema.is_current:
        return "current"
    if not schema.known:
        return f"newer than this eventmesh, which knows {schema.wanted}"
    return f"run 'eventmesh store migrate' for {schema.wanted}"
