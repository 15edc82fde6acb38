"""`eventmesh replay`: run a recorded invocation again."""

from __future__ import annotations

import click

from eventmesh.cli.options import (
    id_argument,
    of_function_option,
    payload_argument,
    url_option,
)


@click.command()
@id_argument
@payload_argument
@of_function_option
@url_option
def command(*, id: str, payload: bytes | None, function: str, url: str) -> None:
    """Run the invocation ID again, against the code as it is now, and print the result.

    Its payload is the one that the process which ran it has recorded: `eventmesh dev` does, other
    processes if EVENTMESH_RECORD_PAYLOADS is true. Another one can be given as JSON, from a file
    (@FILE) or from standard input (-). It runs as a new invocation by name, whatever fired the
    function first.
    """
    from eventmesh.cli.looking.replay import replay  # noqa: PLC0415 - not for --help
    from eventmesh.cli.text.output import print_json  # noqa: PLC0415

    print_json(replay(url, id, function, payload))
