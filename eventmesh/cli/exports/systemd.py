"""`eventmesh export systemd`: units for machines without a container engine."""

from __future__ import annotations

from pathlib import Path

import click

from eventmesh.cli.deploy_options import load
from eventmesh.cli.exports.options import export_options


@click.command("systemd")
@export_options("Write the units into this folder.", folder=True)
def command(
    *,
    targets: tuple[str, ...],
    output: Path | None,
    config: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Print a systemd unit for each TARGET and one for a gateway, which join a RabbitMQ of yours.

    Each logs in as the user of its service: 'eventmesh export broker' makes these.
    """
    from eventmesh.deployment.config_file import read_config  # noqa: PLC0415 - not for --help
    from eventmesh.deployment.systemd import build_units  # noqa: PLC0415
    from eventmesh.deployment.write import write_texts  # noqa: PLC0415

    deployment = load(targets, config, settings, Path() if output is None else output)
    units = build_units(deployment, read_config(config, settings).systemd)
    if output is None:
        for name, text in units.items():
            click.echo(f"# {name}\n{text}")
        return
    for file in write_texts(output, units):
        click.echo(f"wrote {file}")
