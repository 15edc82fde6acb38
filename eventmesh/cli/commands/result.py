"""`eventmesh result`: what became of an asynchronous invocation."""

from __future__ import annotations

import click

from eventmesh.cli.options import id_argument, of_function_option, url_option
from eventmesh.cli.text.output import print_json
from eventmesh.cli.text.results import require_known, result_text
from eventmesh.cli.with_client import with_client
from eventmesh.engine.results import result_members


@click.command()
@id_argument
@of_function_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are in seconds.")
@url_option
def command(*, id: str, function: str, as_json: bool, url: str) -> None:
    """Show what became of the asynchronous invocation ID.

    The store of its service remembers it, from its first run on, and a day longer than it takes.
    """
    found = require_known(with_client(url, lambda client: client.result(id, function)), id)
    if as_json:
        print_json(result_members(found))
    else:
        click.echo(result_text(found))
