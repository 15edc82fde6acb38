"""`eventmesh emit`: publish an event."""

from __future__ import annotations

import click

from eventmesh.cli.options import (
    delay_option,
    header_option,
    id_option,
    payload_argument,
    url_option,
)
from eventmesh.cli.with_client import with_client


@click.command()
@click.argument("type")
@payload_argument
@click.option("--subject", default="", help="The subject of the event in its source.")
@click.option("--source", default="", help="The source of the event.  [default: /]")
@delay_option
@id_option
@header_option
@url_option
def command(
    *,
    type: str,
    payload: bytes | None,
    subject: str,
    source: str,
    delay: float,
    id: str | None,
    headers: dict[str, str],
    url: str,
) -> None:
    """Publish an event of TYPE ("order.placed") to its subscribers, and print its id.

    Its data is JSON: as an argument, from a file (@FILE) or from standard input (-). SUBJECT and
    SOURCE are attributes of CloudEvents.
    """
    click.echo(
        with_client(
            url,
            lambda client: client.emit(
                type,
                payload,
                subject=subject,
                source=source,
                delay=delay,
                id=id,
                headers=headers,
            ),
        )
    )
