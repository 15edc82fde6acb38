"""`eventmesh export`: files that run services elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from eventmesh.cli.options import targets_argument
from eventmesh.targets.parse import read_target

if TYPE_CHECKING:
    from eventmesh.service import Service


@click.group()
def command() -> None:
    """Print files that run services elsewhere, from the declarations in their code."""


@command.command("compose")
@targets_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file, and its secrets into secrets/ beside it.",
)
@click.option(
    "--beside",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Join the mesh of this compose file, without a RabbitMQ and gateway of its own.",
)
@click.option("--cpus", default=1.0, show_default=True, help="CPU cores of each service.")
@click.option("--memory", default="256M", show_default=True, help="Memory of each service.")
def compose(
    *,
    targets: tuple[str, ...],
    output: Path | None,
    beside: Path | None,
    cpus: float,
    memory: str,
) -> None:
    """Print a compose file with a container for each TARGET, RabbitMQ and a gateway.

    A TARGET is a file or a folder with an app.py. It is imported, but not run. Printed paths are
    relative to the current folder; paths in a file are relative to that file.
    """
    found = [read_target(target) for target in targets]
    from eventmesh.packaging.compose import Resources  # noqa: PLC0415 - not for --help
    from eventmesh.packaging.compose_file import (  # noqa: PLC0415
        load_containers,
        render_compose,
        write_compose,
    )
    from eventmesh.packaging.external_mesh import read_external_mesh  # noqa: PLC0415

    containers = load_containers(found)
    _warn_of_undeclared(container.service for container in containers)
    mesh = None if beside is None else read_external_mesh(beside)
    folder = Path() if output is None else output.parent
    text = render_compose(containers, folder, Resources(cpus, memory), mesh)
    if output is None:
        click.echo(text, nl=False)
        return
    for file in write_compose(text, output, containers, joins=beside is not None):
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
    help="Replace this user's password; 'rabbitmq' is its certificate. Can be given several times.",
)
def secrets(
    *, targets: tuple[str, ...], output: Path, beside: Path | None, renew: tuple[str, ...]
) -> None:
    """Write the secrets of a compose file, and the rights of its users, from the TARGETs' code.

    'export compose --output' does that as well. Do it again when the code of a service calls,
    emits or serves more, or to replace a secret: what is there already stays otherwise.
    """
    found = [read_target(target) for target in targets]
    from eventmesh.packaging import broker_export, secret_files  # noqa: PLC0415 - not for --help

    services = broker_export.load_users(found)
    _warn_of_undeclared(services)
    rights = [broker_export.rights_of(service) for service in services]
    write = secret_files.write_secrets if beside is None else secret_files.write_service_secrets
    for file in write(output, rights, renew):
        click.echo(f"wrote {file}")
    if beside is not None:
        _tell_how_to_join(beside, output)


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
