"""`eventmesh invoke`: run a function and wait for its result."""

from __future__ import annotations

import click

from eventmesh.cli.options import (
    function_argument,
    header_option,
    payload_argument,
    timeout_option,
    url_option,
)
from eventmesh.cli.text.output import print_json
from eventmesh.cli.with_client import with_client


@click.command()
@function_argument
@payload_argument
@timeout_option
@header_option
@url_option
def command(
    *, name: str, payload: bytes | None, timeout: float | None, headers: dict[str, str], url: str
) -> None:
    """Run the function NAME ("service.function") and print its result.

    The payload is JSON: as an argument, from a file (@FILE) or from standard input (-). The
    result is JSON on standard output, which gets nothing else; errors go to standard error.
    """
    print_json(
        with_client(
            url, lambda client: client.invoke(name, payload, timeout=timeout, headers=headers)
        )
    )
