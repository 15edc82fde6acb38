"""The options that all exports of a deployment have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eventmesh.cli.deploy_options import deploy_options
from eventmesh.cli.options import targets_argument


def export_options(written: str, *, folder: bool) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that adds the TARGETs, `--output`, `--config` and `--set` to a command.

    The output is a `folder` or a file; `written` is the help that says what is written there.
    """
    kind = click.Path(path_type=Path, file_okay=not folder, dir_okay=folder)

    def add(command: Callable[..., Any]) -> Any:
        output = click.option("--output", "-o", type=kind, help=written)
        return targets_argument(output(deploy_options(command)))

    return add
