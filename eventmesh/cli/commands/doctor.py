"""`eventmesh doctor`: what is wrong with a mesh, and what to do about it."""

from __future__ import annotations

import click

from eventmesh.cli.options import optional_targets_argument, read_duration
from eventmesh.cli.process_options import broker_option, read_settings
from eventmesh.targets.parse import read_target


@click.command()
@optional_targets_argument
@broker_option
@click.option("--all", "everything", is_flag=True, help="Show what is well, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--wait",
    metavar="DURATION",
    default="1s",
    show_default=True,
    callback=read_duration,
    help="How long to wait for processes to answer.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    targets: tuple[str, ...],
    broker: str | None,
    everything: bool,
    as_json: bool,
    wait: float,
) -> None:
    """Look for what is wrong with a mesh, and say what to do about it.

    It looks at the broker, its alarms, and at the queues and consumers of all functions that run,
    and of those of the TARGETs. It changes nothing. The exit code is 1 if something is wrong.
    """
    settings, _ = read_settings({"broker": broker})
    found = [read_target(target) for target in targets]
    from eventmesh.cli.doctor_report import diagnose  # noqa: PLC0415 - not for --help

    ctx.exit(diagnose(found, settings.broker, wait, everything=everything, as_json=as_json))
