"""`eventmesh timers`: when timers fire; fires one now, pauses and resumes them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.table import Table

from eventmesh.cli.options import function_argument, url_option
from eventmesh.cli.text.output import add_row, format_age, print_json, print_table
from eventmesh.cli.with_client import with_client
from eventmesh.engine.timers.access import TimerReport

_schedule_option = click.option(
    "--schedule",
    default="",
    metavar="TEXT",
    help="Which one, where it has several, as 'list' shows it: 'every 10 s'.",
)


@click.group()
def command() -> None:
    """Show timers, fire one now, pause and resume them.

    A pause is kept at the broker: it holds whichever process fires the timers.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are seconds.")
@url_option
def list_timers(*, as_json: bool, url: str) -> None:
    """List the timers of all services that run, and when they fire next."""
    listed = with_client(url, lambda client: client.timers.list())
    if as_json:
        print_json([asdict(timer) for timer in listed.timers])
    elif listed.timers:
        print_table(timers_table(listed.timers))
    else:
        click.echo("No timers.")
    for what in listed.incomplete:
        click.echo(f"not asked: {what}", err=True)


@command.command()
@function_argument
@_schedule_option
@url_option
def run(*, name: str, schedule: str, url: str) -> None:
    """Fire a timer of the function NAME once, now, also a paused one."""
    fired = with_client(url, lambda client: client.timers.run(name, schedule))
    click.echo(f"{fired.function}: {fired.schedule} has fired; its other moments stay")


@command.command()
@function_argument
@_schedule_option
@url_option
def pause(*, name: str, schedule: str, url: str) -> None:
    """Have the timers of the function NAME fire no more until they are resumed."""
    _tell(with_client(url, lambda client: client.timers.pause(name, schedule)))


@command.command()
@function_argument
@_schedule_option
@url_option
def resume(*, name: str, schedule: str, url: str) -> None:
    """Have the timers of the function NAME fire again, from their next moment on."""
    _tell(with_client(url, lambda client: client.timers.resume(name, schedule)))


def timers_table(timers: Sequence[TimerReport]) -> Table:
    """Build a table with a row for each timer."""
    table = Table("Function", "Schedule", "State", "Last", "Next")
    now = time.time()
    for timer in timers:
        paused = timer.paused
        add_row(
            table,
            timer.function,
            timer.schedule,
            "active" if paused is None else f"paused for {format_age(now - paused)}",
            f"{format_age(now - timer.last[0])} ago" if timer.last else "",
            _next(timer, now),
        )
    return table


def _next(timer: TimerReport, now: float) -> str:
    if timer.paused is not None:
        return ""
    return f"in {format_age(max(timer.next[0] - now, 0.0))}" if timer.next else "never"


def _tell(timers: Sequence[TimerReport]) -> None:
    for timer in timers:
        state = "fires again" if timer.paused is None else "is paused"
        click.echo(f"{timer.function}: {timer.schedule} {state}")
