"""`eventmesh show`: where an invocation is."""

from __future__ import annotations

import asyncio

import click

from eventmesh.cli.options import wait_option
from eventmesh.cli.process_options import broker_option, read_settings
from eventmesh.processes.exit_codes import ExitCode


@click.command()
@click.argument("id")
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are seconds.")
@wait_option("1s", "How long to wait for processes to announce themselves.")
@click.pass_context
def command(ctx: click.Context, *, id: str, broker: str | None, as_json: bool, wait: float) -> None:
    """Show where the invocation ID is, and all that it has caused or that led to it.

    It is running, waiting, delayed, retrying, succeeded, failed, cancelled, or unknown: then the
    exit code is 3. All processes are asked, the stores of services, and the dead letters. ID may
    also be a correlation id.
    """
    settings, _ = read_settings({"broker": broker})
    from eventmesh.cli.looking.invocation import show_invocation  # noqa: PLC0415 - not for --help

    if not asyncio.run(show_invocation(settings.broker_address, id, wait, as_json=as_json)):
        ctx.exit(ExitCode.NOT_FOUND)
