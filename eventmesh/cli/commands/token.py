"""`eventmesh token`: who may use the APIs, in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from eventmesh.cli.options import read_duration
from eventmesh.cli.text.output import add_row, print_json, print_table
from eventmesh.model.access.credentials import (
    AccessKey,
    Credentials,
    Token,
    check_name,
    digest_token,
    new_access_key,
    new_token,
)
from eventmesh.model.access.identity import ALL_SCOPES
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings, variable

file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file with tokens and access keys.  [env var: EVENTMESH_AUTH_FILE]",
)


@click.group()
def command() -> None:
    """Manage the tokens and access keys with which callers use the APIs.

    They are in one file, which processes that serve the APIs read: they see a change within a
    second.
    """


@command.command("create")
@click.argument("name", required=False)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(sorted(ALL_SCOPES)),
    help="What it may do; can be given several times.  [default: all]",
)
@click.option(
    "--expires", metavar="DURATION", callback=read_duration, help="How long it lasts, such as 90d."
)
@click.option("--access-key", is_flag=True, help="Make an access key, as the tools of AWS use it.")
@file_option
def create(
    *,
    name: str | None,
    scopes: tuple[str, ...],
    expires: float | None,
    access_key: bool,
    file: Path | None,
) -> None:
    """Make a token called NAME, or an access key, and print it: it is shown only now."""
    if access_key is (name is not None):
        raise click.UsageError("give the NAME of a token, or --access-key")
    path = _path(file)
    known = _read(path, missing_ok=True)
    now = time.time()
    granted = frozenset(scopes) or ALL_SCOPES
    until = None if expires is None else now + expires
    if name is None:
        key = new_access_key(granted, now, until)
        _write(path, replace(known, keys={**known.keys, key.id: key}))
        print_json({"access_key_id": key.id, "secret_access_key": key.secret})
        return
    check_name(name)
    if any(token.name == name for token in known.tokens.values()):
        raise SettingsError(f"there is a token {name!r} already: revoke it, or take another name")
    token = new_token()
    digest = digest_token(token)
    made = Token(name, digest, granted, now, until)
    _write(path, replace(known, tokens={**known.tokens, digest: made}))
    click.echo(token)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@file_option
def list_all(*, as_json: bool, file: Path | None) -> None:
    """List the tokens and access keys: what each may do, and until when. No secrets are shown."""
    known = _read(_path(file))
    entries: Sequence[Token | AccessKey] = (*known.tokens.values(), *known.keys.values())
    if as_json:
        print_json(
            [
                {
                    "principal": entry.principal,
                    "scopes": sorted(entry.scopes),
                    "created": entry.created,
                    "expires": entry.expires,
                }
                for entry in entries
            ]
        )
        return
    table = Table("Principal", "Scopes", "Created", "Expires")
    for entry in entries:
        expires = "never" if entry.expires is None else _format_time(entry.expires)
        if entry.expires is not None and entry.expires <= time.time():
            expires = f"{expires} (expired)"
        scopes = ", ".join(sorted(entry.scopes))
        add_row(table, entry.principal, scopes, _format_time(entry.created), expires)
    print_table(table)


@command.command("revoke")
@click.argument("name")
@file_option
def revoke(*, name: str, file: Path | None) -> None:
    """Take away the token called NAME, or the access key with that id."""
    path = _path(file)
    known = _read(path)
    tokens = {digest: token for digest, token in known.tokens.items() if token.name != name}
    keys = {id: key for id, key in known.keys.items() if id != name}
    if len(tokens) == len(known.tokens) and len(keys) == len(known.keys):
        raise SettingsError(f"{path} has no token or access key {name!r}: 'eventmesh token list'")
    _write(path, Credentials(tokens, keys))
    click.echo(f"revoked {name}")


def _path(file: Path | None) -> Path:
    if file is not None:
        return file
    configured = Settings.from_environment(os.environ).auth_file
    if not configured:
        raise click.UsageError(f"name the file with --file, or in {variable('auth_file')}")
    return Path(configured)


def _read(path: Path, *, missing_ok: bool = False) -> Credentials:
    from eventmesh.http.auth.credential_file import read_credentials  # noqa: PLC0415 - not for --help

    return read_credentials(path, missing_ok=missing_ok)


def _write(path: Path, credentials: Credentials) -> None:
    from eventmesh.http.auth.credential_file import write_credentials  # noqa: PLC0415 - as above

    write_credentials(path, credentials)


def _format_time(seconds: float) -> str:
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "minutes")
