"""Reports the error that ends a command: one message, and an exit code by the kind of error."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Final, cast

import click

from eventmesh.clusters.abc import ClusterUnavailable
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeclarationError,
    EventmeshError,
    FunctionNotFound,
    InvocationTimeout,
    PayloadInvalid,
    PayloadTooLarge,
    SettingsError,
    StoreUnavailable,
    Throttled,
)
from eventmesh.observability.printable import printable
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.targets.source_location import find_user_line

_CODES: Final[Mapping[type[EventmeshError], ExitCode]] = {
    DeclarationError: ExitCode.USAGE,
    SettingsError: ExitCode.USAGE,
    PayloadInvalid: ExitCode.USAGE,
    PayloadTooLarge: ExitCode.USAGE,
    FunctionNotFound: ExitCode.NOT_FOUND,
    AccessDenied: ExitCode.NOT_FOUND,
    Throttled: ExitCode.UNAVAILABLE,
    BrokerUnavailable: ExitCode.UNAVAILABLE,
    StoreUnavailable: ExitCode.UNAVAILABLE,
    ClusterUnavailable: ExitCode.UNAVAILABLE,
    InvocationTimeout: ExitCode.TIMEOUT,
}


def print_error(error: Exception, *, debug: bool) -> ExitCode:
    """Print an error to standard error and return its exit code; `debug` adds the traceback."""
    error = _first(error)
    if debug:
        click.echo(printable("".join(traceback.format_exception(error))), err=True)
    click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(printable(_message(error)), err=True)
    codes = (code for kind, code in _CODES.items() if isinstance(error, kind))
    return next(codes, ExitCode.FAILED)


def _first(error: Exception) -> Exception:
    """Return the error itself, or the first one of a group."""
    if not isinstance(error, ExceptionGroup):
        return error
    return _first(cast(ExceptionGroup[Exception], error).exceptions[0])


def _message(error: Exception) -> str:
    line = find_user_line(error)
    location = f"\n\n{_indent(str(line))}" if line is not None else ""
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    if isinstance(error, EventmeshError):
        return f"{error}{notes}{location}"
    return (
        f"{type(error).__name__}: {error}{notes}{location}\n\n"
        "This error was not expected: 'eventmesh --debug …' shows where it comes from."
    )


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
