"""`eventmesh completion`: the script with which a shell completes our commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: Final[Mapping[str, type[ShellComplete]]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the script that completes eventmesh's commands in a SHELL.

    \b
    bash: eval "$(eventmesh completion bash)"           in ~/.bashrc
    zsh:  eval "$(eventmesh completion zsh)"            in ~/.zshrc
    fish: eventmesh completion fish | source            in ~/.config/fish/config.fish
    """  # noqa: D301 - click's mark for lines that it does not wrap
    script = _SHELLS[shell](ctx.find_root().command, {}, "eventmesh", "_EVENTMESH_COMPLETE")
    click.echo(script.source())
