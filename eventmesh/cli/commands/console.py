"""`eventmesh console`: a page that shows the whole mesh."""

from __future__ import annotations

import asyncio

import click

from eventmesh.cli.process_options import broker_option, read_settings


@click.command()
@broker_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="On which port; 0 is any free one.",
)
@click.option("--read-only", is_flag=True, help="Show only: nothing can be changed.")
def command(*, broker: str | None, host: str, port: int, read_only: bool) -> None:
    """Serve a page that shows what runs where, what waits and what failed, and mends it.

    Beyond this machine it needs tokens or an issuer, as the control API does: EVENTMESH_AUTH_FILE
    or EVENTMESH_JWT_ISSUER; or people log in through an OpenID Connect provider:
    EVENTMESH_CONSOLE_OIDC_ISSUER. The scope read shows, manage deals with dead letters and queues,
    and invoke runs functions. What is done is in the log eventmesh.audit.
    """
    settings, _ = read_settings({"broker": broker})
    from dataclasses import replace  # noqa: PLC0415

    from eventmesh.cli.looking.console import run_console  # noqa: PLC0415 - not for --help

    served = replace(settings, http_host=host, http_port=port, api_port=None, http_fd=None)
    asyncio.run(run_console(served, read_only=read_only))
