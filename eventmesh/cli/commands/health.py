"""`eventmesh health`: whether the process on this machine is ready."""

from __future__ import annotations

import os
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final

import click

from eventmesh.model.settings import Settings
from eventmesh.processes.exit_codes import ExitCode

_TIMEOUT: Final = 3.0
"""Seconds to wait for an answer; a healthy process answers at once."""


@click.command()
@click.option("--live", is_flag=True, help="Ask whether it is alive, not whether it is ready.")
@click.pass_context
def command(ctx: click.Context, /, *, live: bool) -> None:
    """Ask the process on this machine whether it is ready for work.

    It asks at the admin address. The exit code is 0 if the process is ready and 1 if not, for the
    health check of a container.
    """
    settings = Settings.from_environment(os.environ)
    host = _LOOPBACK.get(settings.admin_host, settings.admin_host)
    connection = HTTPConnection(host, settings.admin_port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/healthz" if live else "/readyz")
        answer = connection.getresponse()
        click.echo(answer.read())
    except (OSError, HTTPException) as error:
        raise click.ClickException(
            f"nothing answers at http://{host}:{settings.admin_port} ({error}): is the process "
            "running, with the same EVENTMESH_ADMIN_HOST and EVENTMESH_ADMIN_PORT?"
        ) from error
    finally:
        connection.close()
    ctx.exit(ExitCode.OK if answer.status == HTTPStatus.OK else ExitCode.FAILED)


_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listeners on all addresses
