"""`eventmesh prune`: removes what is left of functions that no process has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from eventmesh.cli.options import url_option, wait_option
from eventmesh.cli.process_options import read_settings

if TYPE_CHECKING:
    from eventmesh.engine.upkeep.leftovers import Fate, Remains


@click.command()
@click.argument("name", metavar="[SERVICE[.FUNCTION]]", default="")
@url_option
@click.option("--dry-run", is_flag=True, help="Show what is left, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--move-to",
    metavar="SERVICE.FUNCTION",
    default="",
    help="Move the invocations that wait to this function.",
)
@click.option("--drop", is_flag=True, help="Drop the invocations that wait.")
@click.option("--dead-letters", is_flag=True, help="Drop the dead letters, too.")
@wait_option("2s", "How long processes may take to answer, over RabbitMQ.")
def command(
    *,
    name: str,
    url: str,
    dry_run: bool,
    yes: bool,
    move_to: str,
    drop: bool,
    dead_letters: bool,
    wait: float,
) -> None:
    """Remove queues and subscriptions of functions that no process has any more.

    Without a name, those of all functions that a newer version of their service does not have. A
    service that does not run at all may only be stopped: name it. What runs is refused. Invocations
    that wait are moved or dropped as you say; dead letters are kept unless you say otherwise. Over
    HTTP the process that is asked does it, for whoever has the scope "manage".
    """
    if move_to and drop:
        raise click.UsageError("--move-to and --drop exclude each other: choose one")
    settings, _ = read_settings({})
    from eventmesh.cli.prune import find, remove, show  # noqa: PLC0415 - not for --help
    from eventmesh.engine.upkeep.leftovers import Fate  # noqa: PLC0415

    fate = Fate(move_to, drop, dead_letters)
    remains = asyncio.run(find(url, name, wait))
    if any(each.function == move_to for each in remains):
        raise click.UsageError(f"{move_to} is to be removed itself: move to another function")
    if not remains:
        click.echo("Nothing to remove.")
        return
    show(remains)
    if dry_run:
        return
    fates = _decide(remains, fate, yes=yes)
    if fates and not yes:
        _confirm(name or "prune", len(fates))
    asyncio.run(remove(settings, url, fates, wait))


def _decide(remains: Sequence[Remains], fate: Fate, *, yes: bool) -> dict[str, Fate]:
    """Return what is to become of what waits, for each function that is to be removed."""
    waiting = [each for each in remains if each.waiting]
    if waiting and yes and not (fate.move_to or fate.drop):
        names = ", ".join(each.function for each in waiting)
        raise click.UsageError(
            f"invocations wait for {names}: say --move-to SERVICE.FUNCTION or --drop"
        )
    decided = {each.function: fate for each in remains}
    if fate.move_to or fate.drop:
        return decided
    for each in waiting:
        if (answer := _ask(each, fate)) is None:
            del decided[each.function]
        else:
            decided[each.function] = answer
    return decided


def _ask(remains: Remains, fate: Fate) -> Fate | None:
    """Ask what is to become of the invocations of one function; None to keep it."""
    from dataclasses import replace  # noqa: PLC0415

    from eventmesh.model.errors import DeclarationError  # noqa: PLC0415
    from eventmesh.model.topology import check_function  # noqa: PLC0415

    question = (
        f"{remains.waiting:,} invocations wait for {remains.function}. Move them to which "
        "function? Its name; 'drop' to drop them; Enter to keep them"
    )
    while True:
        answer = click.prompt(question, default="", show_default=False, err=True).strip()
        if not answer:
            return None
        if answer == "drop":
            return replace(fate, drop=True)
        try:
            return replace(fate, move_to=check_function(answer))
        except DeclarationError as error:
            click.echo(str(error), err=True)


def _confirm(word: str, count: int) -> None:
    what = "this function" if count == 1 else f"these {count} functions"
    typed = click.prompt(f"Type '{word}' to remove what is left of {what}", err=True)
    if typed != word:
        raise click.ClickException("nothing was removed: that was another word")
