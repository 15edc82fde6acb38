"""Arguments and options that several commands share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import orjson

from eventmesh.cli.shell_completion import complete_function, complete_path
from eventmesh.model.duration import seconds
from eventmesh.model.errors import DeclarationError
from eventmesh.model.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_PASSWORD: Final = re.compile(r"[^:/]+://[^/?#]*?:(?!guest@)[^/?#]+@")
"""A URL with a password; RabbitMQ's own default, which works on its own machine alone, is none."""


def _read_url(ctx: click.Context, parameter: click.Parameter, url: str | None) -> str:
    given = warn_of_password(ctx, parameter, url)
    return given or Settings.from_environment(os.environ).mesh


def warn_of_password(
    _ctx: click.Context, _parameter: click.Parameter, url: str | None
) -> str | None:
    """Return the URL of an option, as click's callback, and warn if others see a password in it."""
    if url and _PASSWORD.match(url):
        click.echo(
            "Warning: every user of this machine sees the password in the list of processes: put "
            "the URL into EVENTMESH_BROKER, or the password into a file, ?password_file=…",
            err=True,
        )
    return url


def read_duration(
    _ctx: click.Context, parameter: click.Parameter, text: str | None
) -> float | None:
    """Read a duration in seconds, as click's callback."""
    if text is None:
        return None
    try:
        return seconds(text if text[-1:].isalpha() else float(text), parameter.name or "it")
    except (DeclarationError, ValueError) as error:
        raise click.BadParameter(
            f"{text!r} is not a duration: write seconds, or a number with a unit such as '500ms', "
            "'30s', '5m' or '6h'"
        ) from error


def _read_headers(
    _ctx: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str]:
    headers: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{pair!r} is not a header: write NAME=VALUE")
        headers[name] = text
    return headers


def _read_payload(
    _ctx: click.Context, _parameter: click.Parameter, text: str | None
) -> bytes | None:
    """Read the bytes of a JSON payload; None if none is given."""
    if text is None:
        return None
    payload = _payload_bytes(text)
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(
            f'it is not JSON ({error}): quote it for the shell, \'{{"like": "this"}}\', and '
            "text in it too, '\"hello\"'"
        ) from error
    return payload


def _payload_bytes(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(
            f"the file {text[1:]!r} cannot be read: {error.strerror or error}"
        ) from error


def wait_option(default: str, said: str) -> Callable[[F], F]:
    """Return the option that says how long processes have to answer."""
    return click.option(
        "--wait",
        metavar="DURATION",
        default=default,
        show_default=True,
        callback=read_duration,
        help=said,
    )


targets_argument = click.argument(
    "targets", metavar="TARGET...", nargs=-1, required=True, shell_complete=complete_path
)
optional_targets_argument = click.argument(
    "targets", metavar="[TARGET...]", nargs=-1, shell_complete=complete_path
)
function_argument = click.argument("name", shell_complete=complete_function)
id_argument = click.argument("id")
of_function_option = click.option(
    "--function",
    metavar="NAME",
    default="",
    shell_complete=complete_function,
    help='Its function, "service.function"; without it all services are asked.',
)
optional_function_argument = click.argument(
    "name", required=False, shell_complete=complete_function
)
payload_argument = click.argument(
    "payload", metavar="[JSON|@FILE|-]", required=False, callback=_read_payload
)
url_option = click.option(
    "--url",
    "--broker",
    "url",
    metavar="URL",
    callback=_read_url,
    help="Where the mesh is: http://HOST:PORT of a process that serves it, or "
    "amqp://USER:PASSWORD@HOST:PORT/VHOST of its RabbitMQ.  "
    "[env var: EVENTMESH_URL, EVENTMESH_BROKER; default: http://127.0.0.1:8080]",
)
header_option = click.option(
    "--header",
    "-H",
    "headers",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_read_headers,
    help="A header for the receiver. Can be given several times.",
)
timeout_option = click.option(
    "--timeout",
    metavar="DURATION",
    callback=read_duration,
    help="How long to wait for the result, such as 500ms or 2m.  [default: 30s]",
)
id_option = click.option("--id", help="The id, by which receivers can recognise repetitions.")
delay_option = click.option(
    "--delay",
    metavar="DURATION",
    default="0",
    callback=read_duration,
    help="Deliver it so much later, such as 30s or 6h.",
)
grace_option = click.option(
    "--grace",
    metavar="DURATION",
    callback=read_duration,
    help="How long running invocations may take to finish after SIGTERM.  "
    "[env var: EVENTMESH_GRACE; default: 25s]",
)
