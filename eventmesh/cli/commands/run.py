"""`eventmesh run`: services over a broker, in supervised worker processes."""

from __future__ import annotations

from typing import Any

import click

from eventmesh.cli.options import targets_argument
from eventmesh.cli.process_options import (
    broker_option,
    process_options,
    read_settings,
    workers_option,
)
from eventmesh.targets.parse import read_target


@click.command()
@targets_argument
@broker_option
@workers_option
@process_options
@click.pass_context
def command(
    ctx: click.Context, /, *, targets: tuple[str, ...], workers: int, **options: Any
) -> None:
    """Run the services of all TARGETs until told to stop, over a broker.

    A TARGET is a file, a folder with an app.py, package.module, or module:attribute. Each worker
    is a process that runs all services. The workers share one HTTP port, and a worker that dies is
    started again.

    SIGTERM and Ctrl-C let running invocations finish within the grace time; a second one does not.
    SIGHUP replaces the workers one by one by new ones with the current code, and refuses no request
    meanwhile.
    """
    for target in targets:
        read_target(target)
    settings, environment = read_settings(options)
    from eventmesh.processes.run_workers import run_workers  # noqa: PLC0415 - not for --help

    debug: bool = ctx.find_root().params["debug"]
    ctx.exit(run_workers(["--", *targets], workers, settings, environment, debug=debug))
