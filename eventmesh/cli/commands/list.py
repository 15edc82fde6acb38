"""`eventmesh list`: services and functions, without running them."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import click

from eventmesh.cli.options import targets_argument
from eventmesh.cli.text.output import print_json, print_table
from eventmesh.cli.text.services import service_fields, services_table
from eventmesh.targets.parse import read_target
from eventmesh.targets.services import load_services


@click.command("list")
@targets_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON; durations are seconds.")
def command(*, targets: tuple[str, ...], as_json: bool) -> None:
    """Show the services of the TARGETs: functions, triggers and limits.

    A TARGET is a file, a folder with an app.py, package.module, or module:attribute. It is
    imported, but not run.
    """
    # Modules may print while they are imported; that is not the result.
    with redirect_stdout(sys.stderr):
        services = load_services([read_target(target) for target in targets])
    if as_json:
        print_json([service_fields(service) for service in services])
    else:
        print_table(services_table(services))
