"""`eventmesh gateway`: one address for the HTTP routes of all services of a mesh."""

from __future__ import annotations

from typing import Any

import click

from eventmesh.cli.process_options import (
    broker_option,
    process_options,
    read_settings,
    workers_option,
)


@click.command()
@broker_option
@workers_option
@process_options
@click.pass_context
def command(ctx: click.Context, /, *, workers: int, **options: Any) -> None:
    """Serve all services of a mesh at one address, until told to stop.

    It passes HTTP requests on over the broker to the services that announce the routes, invokes
    functions by name, and serves the control API. Workers and signals are as in 'eventmesh run'.
    """
    settings, environment = read_settings(options)
    from eventmesh.processes.run_workers import run_workers  # noqa: PLC0415 - not for --help

    debug: bool = ctx.find_root().params["debug"]
    ctx.exit(run_workers(["--gateway"], workers, settings, environment, debug=debug))
