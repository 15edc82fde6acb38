"""`eventmesh top`: the slowest functions."""

from __future__ import annotations

import asyncio

import click

from eventmesh.cli.options import read_duration
from eventmesh.cli.process_options import broker_option, read_settings


@click.command()
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are seconds.")
@click.option(
    "--during",
    metavar="DURATION",
    default="0s",
    callback=read_duration,
    help="Watch for so long, 10s at the least, and count that alone; 0s counts all since the "
    "processes began.  [default: 0s]",
)
@click.option(
    "--sort",
    type=click.Choice(("time", "p95", "rate", "errors")),
    default="time",
    show_default=True,
    help="What comes first: most time in all, slowest, most often, most faults.",
)
def command(*, broker: str | None, as_json: bool, during: float, sort: str) -> None:
    """Show how often functions run and fail, and how long they take.

    Quantiles are upper bounds of the buckets of the metrics, so never too low.
    """
    settings, _ = read_settings({"broker": broker})
    from eventmesh.cli.looking.top import show_top  # noqa: PLC0415 - not for --help

    asyncio.run(show_top(settings.broker_address, during, sort, as_json=as_json))
