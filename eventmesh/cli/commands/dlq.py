"""`eventmesh dlq`: the dead letters of functions."""

from __future__ import annotations

from dataclasses import asdict
from typing import NoReturn

import click

from eventmesh.cli.options import function_argument, optional_function_argument, url_option
from eventmesh.cli.text.dead_letters import (
    count_dead_letters,
    dead_letter_table,
    dead_letter_text,
    summary_table,
)
from eventmesh.cli.text.output import print_json, print_table
from eventmesh.cli.with_client import with_client
from eventmesh.engine.upkeep.dead_letters import LISTED, MAX_LISTED
from eventmesh.http.api.dead_letter_json import dead_letter_members
from eventmesh.model.errors import FunctionNotFound

_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; times are seconds since the epoch."
)


@click.group()
def command() -> None:
    """Show dead letters, deliver them again, or drop them.

    A dead letter is an invocation that is not tried again: every attempt failed, it was too old or
    not valid, or the handler rejected it.
    """


@command.command("list")
@optional_function_argument
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LISTED),
    help=f"How many dead letters of NAME to list, the oldest first.  [default: {LISTED}]",
)
@_json_option
@url_option
def list_letters(*, name: str | None, limit: int | None, as_json: bool, url: str) -> None:
    """List the dead letters of the function NAME; without NAME, count those of all functions.

    RabbitMQ cannot list its queues: functions are counted that a process serves, or that the
    record of their service names, although none does. Name any other.
    """
    if name is not None:
        _list_one(name, limit or LISTED, url, as_json=as_json)
    elif limit is not None:
        raise click.UsageError("--limit goes with a NAME: all functions are counted without it")
    else:
        _list_all(url, as_json=as_json)


def _list_one(name: str, limit: int, url: str, *, as_json: bool) -> None:
    letters = with_client(url, lambda client: client.dead_letters.list(name, limit))
    if as_json:
        print_json([dead_letter_members(letter) for letter in letters])
    else:
        print_table(dead_letter_table(letters))


def _list_all(url: str, *, as_json: bool) -> None:
    summaries = with_client(url, lambda client: client.dead_letters.summarize())
    if as_json:
        print_json([asdict(summary) for summary in summaries])
    elif summaries:
        print_table(summary_table(summaries))
    else:
        click.echo("No dead letters.")


@command.command()
@function_argument
@click.argument("id")
@_json_option
@url_option
def show(*, name: str, id: str, as_json: bool, url: str) -> None:
    """Show everything about the dead letter ID of the function NAME."""
    letter = with_client(url, lambda client: client.dead_letters.show(name, id))
    if letter is None:
        _raise_not_found(name, id)
    if as_json:
        print_json(dead_letter_members(letter))
    else:
        click.echo(dead_letter_text(letter))


@command.command()
@function_argument
@click.option("--id", help="The one with this id.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first.")
@click.option("--all", "everything", is_flag=True, help="All that there are now.")
@url_option
def redrive(*, name: str, id: str | None, limit: int | None, everything: bool, url: str) -> None:
    """Deliver dead letters of the function NAME again, as if they were new.

    An interruption loses none: each stays a dead letter until it is stored again. Select them with
    one of --id, --limit and --all.
    """
    if (id is not None) + (limit is not None) + everything != 1:
        raise click.UsageError("say which ones, with one of --id ID, --limit NUMBER and --all")
    count = with_client(url, lambda client: client.dead_letters.redrive(name, id=id, limit=limit))
    if id is not None and not count:
        _raise_not_found(name, id)
    click.echo(f"{count_dead_letters(count)} of {name} delivered again")


@command.command()
@function_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@url_option
def purge(*, name: str, yes: bool, url: str) -> None:
    """Drop all dead letters of the function NAME for good."""
    if not yes:
        click.confirm(f"Drop all dead letters of {name} for good?", abort=True, err=True)
    count = with_client(url, lambda client: client.dead_letters.purge(name))
    click.echo(f"{count_dead_letters(count)} of {name} dropped")


def _raise_not_found(name: str, id: str) -> NoReturn:
    raise FunctionNotFound(
        f"dead letter {id}", f"'eventmesh dlq list {name}' shows those of the function {name}"
    )
