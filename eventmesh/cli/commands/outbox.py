"""`eventmesh outbox`: the committed messages that are not published yet."""

from __future__ import annotations

import time
from dataclasses import asdict

import click
from rich.table import Table

from eventmesh.cli.text.output import add_row, format_age, print_json, print_table
from eventmesh.cli.with_store import json_option, store_option, with_store
from eventmesh.model.errors import FunctionNotFound

_NUMBER = click.argument("number", type=int)


@click.group()
def command() -> None:
    """Show the messages of an outbox, try them again, or drop them.

    The outbox holds what was sent in a transaction, until the broker has it.
    """


@command.command("list")
@click.option("--failed", is_flag=True, help="Only those that the broker refused.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many."
)
@json_option
@store_option
def list_messages(*, failed: bool, limit: int, as_json: bool, store: str | None) -> None:
    """List messages, the oldest first."""
    found = with_store(store, lambda admin: admin.list(failed=failed, limit=limit))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        click.echo("No messages.")
        return
    table = Table("number", "service", "destination", "key", "age", "tries", "error", box=None)
    now = time.time()
    for each in found:
        add_row(
            table,
            str(each.number),
            each.service,
            each.destination,
            each.key,
            format_age(now - each.stored),
            str(each.attempts),
            each.error or "",
        )
    print_table(table)


@command.command()
@click.argument("number", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="All that the broker refused.")
@store_option
def retry(*, number: int | None, everything: bool, store: str | None) -> None:
    """Have the refused message NUMBER, or all with --all, tried again within a second."""
    if (number is None) != everything:
        raise click.UsageError("say which: NUMBER, as 'eventmesh outbox list' shows it, or --all")
    count = with_store(store, lambda admin: admin.retry(number))
    if number is not None and not count:
        raise _not_found(number)
    click.echo(f"{count:,} {'message is' if count == 1 else 'messages are'} tried again")


@command.command()
@_NUMBER
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@store_option
def discard(*, number: int, yes: bool, store: str | None) -> None:
    """Drop the message NUMBER for good; what waits behind it under its key goes on."""
    if not yes:
        click.confirm(f"Drop the message {number} for good?", abort=True, err=True)
    if not with_store(store, lambda admin: admin.discard(number)):
        raise _not_found(number)
    click.echo(f"message {number} dropped")


def _not_found(number: int) -> FunctionNotFound:
    return FunctionNotFound(
        f"message {number}", "'eventmesh outbox list --failed' shows those that were refused"
    )
