"""`eventmesh ps`: the processes of a mesh."""

from __future__ import annotations

import asyncio

import click

from eventmesh.cli.options import read_duration
from eventmesh.cli.process_options import broker_option, read_settings


@click.command()
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are seconds.")
@click.option("--watch", is_flag=True, help="Show them again whenever they change, until Ctrl-C.")
@click.option(
    "--wait",
    metavar="DURATION",
    default="1s",
    show_default=True,
    callback=read_duration,
    help="How long to wait for answers.",
)
def command(*, broker: str | None, as_json: bool, watch: bool, wait: float) -> None:
    """Show the processes of a mesh, and the functions that they serve.

    Each process answers for itself over the broker. A process that hangs or has just lost its
    connection is not shown.
    """
    settings, _ = read_settings({"broker": broker})
    from eventmesh.cli.ps import show_instances, watch_instances  # noqa: PLC0415 - not for --help

    if watch:
        asyncio.run(watch_instances(settings.broker_address))
    else:
        asyncio.run(show_instances(settings.broker_address, wait, as_json=as_json))
