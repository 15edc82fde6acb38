"""`eventmesh dlq`: the dead letters of a function."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn

import click
from rich.table import Table

from eventmesh.cli.options import function_argument, url_option
from eventmesh.cli.output import print_json, print_table
from eventmesh.cli.with_client import call
from eventmesh.engine.dead_letters import LISTED, MAX_LISTED, DeadLetter
from eventmesh.http.api.dead_letter_json import dead_letter_members
from eventmesh.model.errors import FunctionNotFound

_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; times are seconds since the epoch."
)


@click.group()
def command() -> None:
    """Look at dead letters, deliver them again, or drop them.

    The dead letters of a function are invocations that were set aside: they failed at every
    attempt, were too old or not valid, or the handler rejected them.
    """


@command.command("list")
@function_argument
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LISTED),
    default=LISTED,
    show_default=True,
    help="How many, the oldest first.",
)
@_json_option
@url_option
def list_letters(*, name: str, limit: int, as_json: bool, url: str) -> None:
    """List the dead letters of the function NAME."""
    letters = call(url, lambda client: client.dead_letters.list(name, limit))
    if as_json:
        print_json([dead_letter_members(letter) for letter in letters])
    else:
        print_table(_table(letters))


@command.command()
@function_argument
@click.argument("id")
@_json_option
@url_option
def show(*, name: str, id: str, as_json: bool, url: str) -> None:
    """Show all that is known of the dead letter ID of the function NAME."""
    letter = call(url, lambda client: client.dead_letters.show(name, id))
    if letter is None:
        _not_found(name, id)
    if as_json:
        print_json(dead_letter_members(letter))
    else:
        click.echo(_text(letter))


@command.command()
@function_argument
@click.option("--id", help="The one with this id.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first.")
@click.option("--all", "everything", is_flag=True, help="All there are now.")
@url_option
def redrive(*, name: str, id: str | None, limit: int | None, everything: bool, url: str) -> None:
    """Deliver dead letters of the function NAME again, as if they were new.

    Interrupted, it has lost none: each is a dead letter until it is stored anew. Say which ones,
    with one of --id, --limit and --all.
    """
    if (id is not None) + (limit is not None) + everything != 1:
        raise click.UsageError("say which ones, with one of --id ID, --limit NUMBER and --all")
    count = call(url, lambda client: client.dead_letters.redrive(name, id=id, limit=limit))
    if id is not None and not count:
        _not_found(name, id)
    click.echo(f"{_counted(count)} of {name} delivered again")


@command.command()
@function_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@url_option
def purge(*, name: str, yes: bool, url: str) -> None:
    """Drop all dead letters of the function NAME for good."""
    if not yes:
        click.confirm(f"Drop all dead letters of {name} for good?", abort=True, err=True)
    count = call(url, lambda client: client.dead_letters.purge(name))
    click.echo(f"{_counted(count)} of {name} dropped")


def _not_found(name: str, id: str) -> NoReturn:
    raise FunctionNotFound(
        f"dead letter {id}", f"'eventmesh dlq list {name}' shows those of the function {name}"
    )


def _counted(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


def _table(letters: Sequence[DeadLetter]) -> Table:
    table = Table("Id", "Set aside", "Reason", "Attempts", "Error")
    for letter in letters:
        table.add_row(
            letter.id,
            _time(letter.last_failure),
            letter.reason,
            str(letter.attempts),
            _error(letter),
        )
    return table


def _text(letter: DeadLetter) -> str:
    facts = {
        "Id": letter.id,
        "Function": letter.function,
        "Reason": letter.reason,
        "Error": _error(letter),
        "Attempts": str(letter.attempts),
        "Trigger": letter.trigger,
        "Stored": _time(letter.created),
        "First failure": _time(letter.first_failure),
        "Last failure": _time(letter.last_failure),
        **{f"Header {name}": text for name, text in letter.headers.items()},
        "Content type": letter.content_type,
        "Payload": letter.payload.decode(errors="replace"),
    }
    lines = [f"{name + ':':<15} {text}" for name, text in facts.items()]
    return "\n".join([*lines, "", letter.traceback]).rstrip()


def _error(letter: DeadLetter) -> str:
    return ": ".join(part for part in (letter.error_type, letter.error_message) if part)


def _time(seconds: float) -> str:
    """In the time zone of whoever looks."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "seconds")
