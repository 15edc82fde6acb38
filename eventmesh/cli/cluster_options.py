"""Options of the commands that change what runs on a cluster, as the mesh needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from eventmesh.cli.process_options import broker_option

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option(
        "--engine",
        type=click.Choice(["auto", "compose", "swarm", "kubernetes"]),
        default="auto",
        show_default=True,
        help="What runs the services: auto is Swarm where it has the stack, Compose otherwise.",
    ),
    click.option(
        "--project",
        metavar="NAME",
        required=True,
        envvar="COMPOSE_PROJECT_NAME",
        show_envvar=True,
        help="The name of the Compose project, of the stack, or of the namespace of Kubernetes.",
    ),
    broker_option,
)


def cluster_options(command: CommandT) -> CommandT:
    """Add the options that say which cluster, and where the RabbitMQ of its mesh is."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
