"""`eventmesh export swarm`: a stack file for Docker Swarm."""

from __future__ import annotations

from pathlib import Path

import click

from eventmesh.cli.deploy_options import load
from eventmesh.cli.exports.options import export_options


@click.command("swarm")
@export_options("Write it to this file, and its secrets into secrets/ beside it.", folder=False)
def command(
    *,
    targets: tuple[str, ...],
    output: Path | None,
    config: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Print a stack file for Docker Swarm with a service for each TARGET, RabbitMQ and a gateway.

    It pulls the images from a registry: set 'registry'.
    """
    from eventmesh.deployment.compose.file import write_compose  # noqa: PLC0415 - not for --help
    from eventmesh.deployment.config_file import read_config  # noqa: PLC0415
    from eventmesh.deployment.swarm import render_stack  # noqa: PLC0415

    folder = Path() if output is None else output.parent
    deployment = load(targets, config, settings, folder)
    text = render_stack(deployment, read_config(config, settings).swarm, folder)
    if output is None:
        click.echo(text, nl=False)
        return
    for file in write_compose(text, output, deployment, joins=False):
        click.echo(f"wrote {file}")
    click.echo(
        f"\nDeploy it with:\n  docker stack deploy --compose-file {output} {deployment.name}"
    )
