"""The options of commands that deploy services, or write files that do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventmesh.targets.parse import read_target

if TYPE_CHECKING:
    from eventmesh.deployment.model import Deployment


def deploy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config` and `--set` to a command, as the parameters `config` and `settings`."""
    for option in (
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="A key of [deploy], such as services.orders.maximum=20. Can be given several "
            "times.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="The file with [deploy]; eventmesh.toml in this folder, if it is there.",
        ),
    ):
        command = option(command)
    return command


def load(
    targets: Sequence[str],
    config: Path | None,
    settings: Sequence[str],
    folder: Path,
    *,
    joins: bool = False,
    managed: bool = False,
) -> Deployment:
    """Compute the deployment of targets, named after the folder unless it has a name; warn.

    `joins` and `managed` are those of `load_deployment`. Raises what that and `read_config` raise.
    """
    found = [read_target(target) for target in targets]
    from eventmesh.deployment.config_file import read_config  # noqa: PLC0415 - not for --help
    from eventmesh.deployment.plan import load_deployment  # noqa: PLC0415
    from eventmesh.packaging.image import image_name  # noqa: PLC0415

    name = image_name(folder.resolve().name)
    deployment = load_deployment(
        found, read_config(config, settings), name, joins=joins, managed=managed
    )
    for warning in deployment.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return deployment
