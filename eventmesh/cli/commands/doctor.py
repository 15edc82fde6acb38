"""`eventmesh doctor`: finds what is wrong with a mesh, and says what to do about it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import redirect_stdout
from dataclasses import asdict

import click

from eventmesh.cli.options import optional_targets_argument, wait_option
from eventmesh.cli.process_options import broker_option, read_settings
from eventmesh.cli.text.output import print_json
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.targets.parse import read_target


@click.command()
@optional_targets_argument
@broker_option
@click.option(
    "--permissions",
    is_flag=True,
    help="Try the rights of the user of the TARGET's service at RabbitMQ, and nothing else.",
)
@click.option("--all", "everything", is_flag=True, help="Also show the checks that passed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@wait_option("1s", "How long to wait for processes to answer.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    targets: tuple[str, ...],
    broker: str | None,
    permissions: bool,
    everything: bool,
    as_json: bool,
    wait: float,
) -> None:
    """Find what is wrong with a mesh, and say what to do about it.

    It checks the broker, its alarms, and the queues and consumers of all functions that run or
    that a TARGET declares; and the store of EVENTMESH_STORE, if it is set. With --permissions it
    tries, in place of that, what the user in the broker's URL may do, where each service has its
    own. It changes nothing. The exit code is 1 if there is a problem.
    """
    settings, _ = read_settings({"broker": broker})
    found = [read_target(target) for target in targets]
    from eventmesh.cli.text.doctor import print_report, print_rights  # noqa: PLC0415 - not for --help
    from eventmesh.doctor.inspect import inspect_mesh  # noqa: PLC0415
    from eventmesh.doctor.permissions import has_differences, try_permissions  # noqa: PLC0415
    from eventmesh.doctor.report import Report  # noqa: PLC0415
    from eventmesh.doctor.store import inspect_store  # noqa: PLC0415
    from eventmesh.targets.services import load_services  # noqa: PLC0415

    # Modules may print while they are imported; that is not the result.
    with redirect_stdout(sys.stderr):
        services = load_services(found)
    if permissions:
        tried = asyncio.run(try_permissions(settings.broker_address, services))
        if as_json:
            print_json([asdict(right) for right in tried])
        else:
            print_rights(tried, everything=everything)
        ctx.exit(ExitCode.FAILED if has_differences(tried) else ExitCode.OK)
    report = asyncio.run(inspect_mesh(settings.broker_address, services, wait))
    if settings.store:
        report = Report([*report.findings, *asyncio.run(inspect_store(settings.store))])
    if as_json:
        print_json([asdict(finding) for finding in report.findings])
    else:
        print_report(report, everything=everything)
    ctx.exit(ExitCode.FAILED if report.has_problems else ExitCode.OK)
