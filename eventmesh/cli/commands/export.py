"""`eventmesh export`: files that run services elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from eventmesh.cli.deploy_options import deploy_options, load
from eventmesh.cli.exports import ecs, kubernetes, swarm, systemd
from eventmesh.cli.exports.options import export_options
from eventmesh.cli.options import targets_argument
from eventmesh.targets.parse import read_target

if TYPE_CHECKING:
    from eventmesh.service import Service


@click.group()
def command() -> None:
    """Print files that run services elsewhere, from the declarations in their code."""


for export in (ecs, kubernetes, swarm, systemd):
    command.add_command(export.command)


@command.command("compose")
@export_options("Write it to this file, and its secrets into secrets/ beside it.", folder=False)
@click.option(
    "--beside",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Join the mesh of this compose file, without a RabbitMQ and gateway of its own.",
)
@click.option("--cpus", type=float, help="CPU cores of each service; 1 by default.")
@click.option("--memory", help="Memory of each service; 256M by default.")
def compose(
    *,
    targets: tuple[str, ...],
    output: Path | None,
    beside: Path | None,
    cpus: float | None,
    memory: str | None,
    config: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Print a compose file with a container for each TARGET, RabbitMQ and a gateway.

    A TARGET is a file or a folder with an app.py. It is imported, but not run. Printed paths are
    relative to the current folder; paths in a file are relative to that file.
    """
    from eventmesh.deployment.compose.external_mesh import read_external_mesh  # noqa: PLC0415
    from eventmesh.deployment.compose.file import render_compose, write_compose  # noqa: PLC0415

    settings += () if cpus is None else (f"cpus={cpus}",)
    settings += () if memory is None else (f"memory={memory}",)
    folder = Path() if output is None else output.parent
    mesh = None if beside is None else read_external_mesh(beside)
    deployment = load(targets, config, settings, folder, joins=beside is not None)
    text = render_compose(deployment, folder, mesh)
    if output is None:
        click.echo(text, nl=False)
        return
    for file in write_compose(text, output, deployment, joins=beside is not None):
        click.echo(f"wrote {file}")
    if beside is not None:
        _tell_how_to_join(beside, folder / "secrets")


@command.command("secrets")
@targets_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder to write into, secrets/ beside the compose file.",
)
@click.option(
    "--beside",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The services join the mesh of this compose file.",
)
@click.option(
    "--renew",
    multiple=True,
    metavar="NAME",
    help="Replace this user's passwords; 'rabbitmq' and 'postgres' are their certificates. Can be "
    "given several times.",
)
@deploy_options
def secrets(
    *,
    targets: tuple[str, ...],
    output: Path,
    beside: Path | None,
    renew: tuple[str, ...],
    config: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Write the secrets of a compose file, and the rights of its users, from the TARGETs' code.

    'export compose --output' does that as well. Do it again when the code of a service calls,
    emits or serves more, or to replace a secret: what is there already stays otherwise.
    """
    found = [read_target(target) for target in targets]
    from eventmesh.deployment.config_file import read_config  # noqa: PLC0415 - not for --help
    from eventmesh.deployment.databases import list_databases  # noqa: PLC0415
    from eventmesh.packaging import broker_export, secret_files  # noqa: PLC0415

    services = broker_export.load_users(found)
    _warn_of_undeclared(services)
    rights = [broker_export.rights_of(service) for service in services]
    if beside is not None:
        for file in secret_files.write_service_secrets(output, rights, renew):
            click.echo(f"wrote {file}")
        _tell_how_to_join(beside, output)
        return
    databases = list_databases(services, read_config(config, settings))
    for file in secret_files.write_secrets(output, rights, renew, databases=databases):
        click.echo(f"wrote {file}")


def _warn_of_undeclared(services: Iterable[Service]) -> None:
    from eventmesh.packaging.broker_export import undeclared  # noqa: PLC0415 - not for --help

    for service in services:
        if text := undeclared(service):
            click.echo(f"Warning: {text}", err=True)


def _tell_how_to_join(compose_file: Path, folder: Path) -> None:
    """Print the command by which the other mesh's RabbitMQ learns of the users."""
    from eventmesh.packaging.secret_files import DEFINITIONS, RABBITMQ  # noqa: PLC0415

    click.echo(
        f"\nRabbitMQ learns of them with:\n  docker compose --file {quote(str(compose_file))} "
        f"exec -T {RABBITMQ} rabbitmqctl import_definitions <{quote(str(folder / DEFINITIONS))}"
    )


@command.command("broker")
@targets_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write definitions, a script and secrets into this folder.",
)
@click.option("--vhost", default="/", show_default=True, help="The virtual host of the mesh.")
def broker(*, targets: tuple[str, ...], output: Path | None, vhost: str) -> None:
    """Print what the users of the services may do at RabbitMQ, derived from the TARGETs' code.

    Each service has a user with its name, and the gateway has one. All services of a mesh are
    named at once. They are imported, but not run. With --output, definitions.json is what RabbitMQ
    loads when it starts, permissions.sh does the same by rabbitmqctl, and secrets/ has the password
    of each user; passwords that are there already stay.
    """
    found = [read_target(target) for target in targets]
    from eventmesh.packaging import broker_export  # noqa: PLC0415 - not for --help

    services = broker_export.load_users(found)
    _warn_of_undeclared(services)
    rights = [broker_export.rights_of(service) for service in services]
    if output is None:
        for each in broker_export.all_permissions(rights):
            click.echo(
                f"{each.user}\n  configure {each.configure}\n  write     {each.write}\n"
                f"  read      {each.read}\n  patterns  {each.patterns}"
            )
        return
    for file in broker_export.write_broker_files(rights, output, vhost):
        click.echo(f"wrote {file}")
