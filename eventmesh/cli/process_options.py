"""Options of the commands that serve, and the settings from them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import click

from eventmesh.cli.options import grace_option, warn_of_password
from eventmesh.model.settings import LogFormat, LogLevel, Settings, variable

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of CPU time that a container gets, and the period in microseconds (cgroup v2)."""

admin_port_option = click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    help="The port of metrics and health.  [env var: EVENTMESH_ADMIN_PORT; default: 9464]",
)

_OPTIONS: Final = (
    click.option(
        "--host",
        "http_host",
        metavar="HOST",
        help="The HTTP listener's address.  [env var: EVENTMESH_HTTP_HOST; default: 127.0.0.1]",
    ),
    click.option(
        "--port",
        "http_port",
        type=click.IntRange(0, 65535),
        help="Its port; 0 for any free one.  [env var: EVENTMESH_HTTP_PORT; default: 8080]",
    ),
    admin_port_option,
    click.option(
        "--log-format",
        type=click.Choice(get_args(LogFormat)),
        help="The format of log lines, on standard error.  [env var: EVENTMESH_LOG_FORMAT]",
    ),
    click.option(
        "--log-level",
        type=click.Choice(get_args(LogLevel), case_sensitive=False),
        help="The lowest level that is logged.  [env var: EVENTMESH_LOG_LEVEL; default: INFO]",
    ),
    grace_option,
)


def process_options(command: CommandT) -> CommandT:
    """Add the options that change the settings of a serving process."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_settings(options: Mapping[str, Any]) -> tuple[Settings, Mapping[str, str]]:
    """Return the settings from the environment and the given options, and an environment for both.

    Raises SettingsError.
    """
    given = {variable(name): str(one) for name, one in options.items() if one is not None}
    environment = {**os.environ, **given}
    return Settings.from_environment(environment), environment


def _read_workers(_ctx: click.Context, _parameter: click.Parameter, text: str) -> int:
    if text == "auto":
        return cores()
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a number of at least 1 nor 'auto'")


def cores() -> int:
    """Return how many CPU cores this process may use."""
    # Not every platform has sched_getaffinity.
    affinity = getattr(os, "sched_getaffinity", None)
    available = (os.cpu_count() or 1) if affinity is None else len(affinity(0))
    try:
        quota, period = _CGROUP_LIMIT.read_text(encoding="ascii").split()
        return min(available, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # The file does not exist, or has no limit.
        return available


broker_option = click.option(
    "--broker",
    metavar="URL",
    callback=warn_of_password,
    help="Where RabbitMQ is, amqp://USER:PASSWORD@HOST:PORT/VHOST, with HOST:PORT,HOST:PORT for a "
    "cluster.  [env var: EVENTMESH_BROKER]",
)
workers_option = click.option(
    "--workers",
    metavar="NUMBER|auto",
    default="1",
    show_default=True,
    envvar="EVENTMESH_WORKERS",
    show_envvar=True,
    callback=_read_workers,
    help="How many worker processes; auto is one for each CPU core.",
)
