"""`eventmesh autoscale`: have as many replicas of services as their work needs."""

from __future__ import annotations

import asyncio

import click

from eventmesh.cli.cluster_options import cluster_options
from eventmesh.cli.options import read_duration
from eventmesh.cli.process_options import admin_port_option, read_settings
from eventmesh.clusters.labels import DEFAULT_CALM, DEFAULT_LATENCY


@click.command()
@click.argument("services", metavar="[SERVICE=MIN..MAX]...", nargs=-1)
@cluster_options
@click.option(
    "--latency",
    metavar="DURATION",
    default=f"{DEFAULT_LATENCY:g}s",
    show_default=True,
    callback=read_duration,
    help="Within which time what waits is to be begun.",
)
@click.option(
    "--calm",
    metavar="DURATION",
    default=f"{DEFAULT_CALM / 60:g}m",
    show_default=True,
    callback=read_duration,
    help="How long fewer replicas must have been enough before some go.",
)
@click.option(
    "--utilisation",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.8,
    show_default=True,
    help="The share of the slots of a replica that is to be used.",
)
@click.option(
    "--every",
    metavar="DURATION",
    default="2s",
    show_default=True,
    callback=read_duration,
    help="How long between two looks.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@admin_port_option
def command(
    *,
    services: tuple[str, ...],
    engine: str,
    project: str,
    broker: str | None,
    latency: float,
    calm: float,
    utilisation: float,
    every: float,
    dry_run: bool,
    admin_port: int | None,
) -> None:
    """Scale services of a Compose project or a Swarm stack by their work, until told to stop.

    Without services, those are scaled whose label eventmesh.autoscale has their range, such as
    0..10; eventmesh.autoscale.latency and eventmesh.autoscale.calm are those of one. The rule is
    Little's law on what arrives, how long it takes and what waits: out at once, in after a calm
    time.
    """
    settings, _ = read_settings({"broker": broker, "admin_port": admin_port})
    from eventmesh.scaling.run import Choices, autoscale  # noqa: PLC0415 - not for --help

    choices = Choices(
        services=services,
        engine=engine,
        project=project,
        latency=latency,
        calm=calm,
        utilisation=utilisation,
        every=max(every, 0.1),
        dry_run=dry_run,
    )
    asyncio.run(autoscale(choices, settings))
