"""`eventmesh cancel`: cancel an asynchronous invocation."""

from __future__ import annotations

import click

from eventmesh.cli.options import id_argument, of_function_option, url_option
from eventmesh.cli.text.results import require_known
from eventmesh.cli.with_client import with_client


@click.command()
@id_argument
@of_function_option
@url_option
def command(*, id: str, function: str, url: str) -> None:
    """Cancel the asynchronous invocation ID, unless it has ended.

    What waits is not run, and a run is told to end. One that nothing has run yet is known only by
    the name of its function: give --function.
    """
    found = require_known(with_client(url, lambda client: client.cancel(id, function)), id)
    if found.cancelling:
        click.echo(f"{id} of {found.function} runs, and was told to end")
    elif found.state == "cancelled":
        click.echo(f"{id} of {found.function} is cancelled")
    else:
        click.echo(f"{id} of {found.function} had {found.state} already")
