"""`eventmesh send`: store an invocation, to be delivered until it succeeds."""

from __future__ import annotations

import click

from eventmesh.cli.options import (
    delay_option,
    function_argument,
    header_option,
    id_option,
    payload_argument,
    url_option,
)
from eventmesh.cli.with_client import with_client


@click.command()
@function_argument
@payload_argument
@delay_option
@id_option
@header_option
@url_option
def command(
    *,
    name: str,
    payload: bytes | None,
    delay: float,
    id: str | None,
    headers: dict[str, str],
    url: str,
) -> None:
    """Store an invocation of the function NAME ("service.function") and print its id.

    NAME can also be queue:NAME. The payload is JSON: as an argument, from a file (@FILE) or from
    standard input (-). If the exit code is 0, the invocation is stored and runs at least once.
    """
    click.echo(
        with_client(
            url, lambda client: client.send(name, payload, delay=delay, id=id, headers=headers)
        )
    )
