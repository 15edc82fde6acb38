"""`eventmesh ps`: the processes of a mesh."""

from __future__ import annotations

import asyncio

import click

from eventmesh.cli.options import wait_option
from eventmesh.cli.process_options import broker_option, read_settings


@click.command()
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are seconds.")
@click.option("--running", is_flag=True, help="Show the runs that go on, the oldest first.")
@click.option("--function", metavar="NAME", default="", help="With --running: of this one alone.")
@click.option("--watch", is_flag=True, help="Show them again whenever they change, until Ctrl-C.")
@wait_option("1s", "How long to wait for answers.")
def command(
    *, broker: str | None, as_json: bool, running: bool, function: str, watch: bool, wait: float
) -> None:
    """Show the processes of a mesh, and the functions that they serve.

    Each process answers for itself over the broker. A process that hangs or has just lost its
    connection is not shown.
    """
    if running and watch:
        raise click.UsageError("--running shows the runs of one moment: leave out --watch")
    if function and not running:
        raise click.UsageError("--function goes with --running")
    settings, _ = read_settings({"broker": broker})
    from eventmesh.cli.ps import show_instances, watch_instances  # noqa: PLC0415 - not for --help

    if running:
        from eventmesh.cli.looking.runs import show_runs  # noqa: PLC0415

        asyncio.run(show_runs(settings.broker_address, wait, function, as_json=as_json))
    elif watch:
        asyncio.run(watch_instances(settings.broker_address))
    else:
        asyncio.run(show_instances(settings.broker_address, wait, as_json=as_json))
