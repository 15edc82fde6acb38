"""`eventmesh dev`: services on the embedded broker, started again on every change."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import click

from eventmesh.cli.options import grace_option, targets_argument
from eventmesh.cli.targets import read_target
from eventmesh.errors import SettingsError
from eventmesh.settings import LogFormat, LogLevel, Settings, variable

_PASSED_ON: Final = ("http_host", "http_port", "admin_port", "grace", "log_format", "log_level")
"""Settings that options change, and that a process of our own gets by its environment."""


@click.command()
@targets_argument
@click.option(
    "--host",
    "http_host",
    metavar="HOST",
    help="Where HTTP is listened for.  [env var: EVENTMESH_HTTP_HOST; default: 127.0.0.1]",
)
@click.option(
    "--port",
    "http_port",
    type=click.IntRange(0, 65535),
    help="Its port, 0 for any free one.  [env var: EVENTMESH_HTTP_PORT; default: 8080]",
)
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    help="The port of metrics and health.  [env var: EVENTMESH_ADMIN_PORT; default: 9464]",
)
@click.option("--reload/--no-reload", default=True, help="Start again when code changes, or not.")
@click.option(
    "--log-format",
    type=click.Choice(get_args(LogFormat)),
    help="Of log lines, on standard error.  [env var: EVENTMESH_LOG_FORMAT; default: text]",
)
@click.option(
    "--log-level",
    type=click.Choice(get_args(LogLevel), case_sensitive=False),
    help="The least that is logged.  [env var: EVENTMESH_LOG_LEVEL; default: INFO]",
)
@grace_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    targets: tuple[str, ...],
    reload: bool,
    **options: Any,
) -> None:
    """Run the services of all TARGETs in one process, on the embedded broker.

    A TARGET is a file, a folder with an app.py, package.module, or module:attribute. When a
    Python file in their folders changes, the process is started again. Ctrl-C lets what runs
    finish; a second one does not.

    The embedded broker keeps its messages in memory: they end with the process.
    """
    given = {name: option for name, option in options.items() if option is not None}
    settings = replace(Settings.from_environment(os.environ), **given)
    found = [read_target(target) for target in targets]
    if reload:
        debug: bool = ctx.find_root().params["debug"]
        # -P: the current folder is searched only for targets that are modules.
        command = [sys.executable, "-P", "-m", "eventmesh", *["--debug"] * debug]
        command += ["dev", "--no-reload", "--", *targets]
        ctx.exit(_reload(command, {target.folder for target in found}, settings))
    # Imported here, for the process that reloads needs nothing of it.
    from eventmesh.cli.develop import develop  # noqa: PLC0415

    develop(found, settings)


def _reload(command: Sequence[str], folders: Collection[Path], settings: Settings) -> int:
    """Run a command with these settings, and again on every change."""
    from eventmesh.cli.reload import run_and_reload  # noqa: PLC0415 - nobody else needs it

    # A free port is chosen here, to be the same after each change.
    settings = replace(
        settings,
        http_port=settings.http_port or _free_port(settings.http_host),
        admin_port=settings.admin_port or _free_port(settings.admin_host),
    )
    for name in _PASSED_ON:
        os.environ[variable(name)] = str(getattr(settings, name))
    return run_and_reload(command, folders, settings.grace)


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise SettingsError(
                f"{host!r} cannot be listened on ({error.strerror}): use an address of this "
                "machine, such as 127.0.0.1, or 0.0.0.0 for all"
            ) from error
        port: int = probe.getsockname()[1]
        return port
