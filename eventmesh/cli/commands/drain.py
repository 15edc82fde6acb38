"""`eventmesh drain`: has one process of a mesh finish what runs, and end."""

from __future__ import annotations

import click

from eventmesh.cli.options import url_option
from eventmesh.cli.with_client import with_client


@click.command()
@click.argument("instance")
@url_option
def command(*, instance: str, url: str) -> None:
    """Have the process INSTANCE take no more work, finish what runs, and end.

    INSTANCE is its id, as 'eventmesh ps' shows it. The supervisor of its worker starts another in
    its place at once. It has its grace time for what runs, and hands back the rest.
    """
    draining = with_client(url, lambda client: client.instances.drain(instance))
    click.echo(
        f"{draining.instance} takes no more work; {draining.running} running, "
        f"{draining.waiting} waiting"
    )
