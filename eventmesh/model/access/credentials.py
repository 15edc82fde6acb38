"""Tokens and access keys, and the file that holds them."""

from __future__ import annotations

import hashlib
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

from pydantic import TypeAdapter

from eventmesh.model.access.identity import ALL_SCOPES, Scope
from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value

TOKEN_PREFIX: Final = "em_"  # noqa: S105 - what all of them begin with is no secret
"""How every token begins: scanners for leaked secrets find it, and it is no JWT."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY_ID: Final = re.compile(r"[A-Z0-9]{16,128}")
"""What AWS accepts as an access key's id (IAM's AccessKey, `\\w` there, in capitals here)."""

_SCOPES: Final = TypeAdapter(list[Scope])
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SECRET: Final = re.compile(r"[!#-\[\]-~]{16,4096}")


@value
class Token:
    """A bearer token; `digest` is all that is kept of it. Times are in seconds since the epoch."""

    name: str
    digest: str = field(repr=False)
    scopes: frozenset[str]
    created: float = 0.0
    expires: float | None = None

    @property
    def principal(self) -> str:
        return f"token:{self.name}"


@value
class AccessKey:
    """A key pair as AWS has it: requests are signed with `secret`, which therefore is kept.

    Requests also carry the `session_token`, if the key has one.
    """

    id: str
    secret: str = field(repr=False)
    scopes: frozenset[str]
    created: float = 0.0
    expires: float | None = None
    session_token: str = field(default="", repr=False)

    @property
    def principal(self) -> str:
        return f"key:{self.id}"


@value
class Credentials:
    """All credentials of a file: tokens by their digests, access keys by their ids."""

    tokens: Mapping[str, Token]
    keys: Mapping[str, AccessKey]


NO_CREDENTIALS: Final = Credentials({}, {})

_Table: TypeAlias = Mapping[str, Any]


def digest_token(token: str) -> str:
    """Return what is kept of a token. It has 256 random bits: no salt or slow hash is needed."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def new_token() -> str:
    """Return a new random token."""
    return f"{TOKEN_PREFIX}{secrets.token_urlsafe(32)}"


def new_access_key(scopes: frozenset[str], created: float, expires: float | None) -> AccessKey:
    """Return a new random key pair, in the form of those of AWS."""
    id = "EM" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(18))
    return AccessKey(id, secrets.token_urlsafe(30), scopes, created, expires)


def parse_credentials(text: str) -> Credentials:
    """Parse the TOML of a file with credentials.

    Raises SettingsError, which says what is wrong with which entry and shows no secret.
    """
    try:
        tables: _Table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at [^)]*\)", str(error))
        raise SettingsError(f"it is not TOML {place[0] if place else ''}".rstrip()) from None
    unknown = tables.keys() - {"tokens", "keys"}
    if unknown:
        raise SettingsError(f"it has {min(unknown)!r}: there are [tokens.NAME] and [keys.ID]")
    tokens = [_read_token(name, table) for name, table in _entries(tables, "tokens")]
    keys = [_read_key(id, table) for id, table in _entries(tables, "keys")]
    return Credentials({token.digest: token for token in tokens}, {key.id: key for key in keys})


def format_credentials(credentials: Credentials) -> str:
    """Return the TOML that `parse_credentials` reads."""
    lines = ["# Who may use the APIs: docs/guide/security.md. Keep it from everybody else.", ""]
    for token in sorted(credentials.tokens.values(), key=lambda token: token.name):
        lines += [f"[tokens.{token.name}]", f'hash = "{token.digest}"', *_common(token)]
    for key in sorted(credentials.keys.values(), key=lambda key: key.id):
        lines += [f"[keys.{key.id}]", f'secret = "{key.secret}"']
        if key.session_token:
            lines.append(f'session_token = "{key.session_token}"')
        lines += _common(key)
    return "\n".join(lines)


def check_name(name: str) -> str:
    """Return the name if a token can have it. Raises SettingsError if not."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"a token cannot be called {name!r}: use letters, digits, '-' and '_', 64 at most"
        )
    return name


def check_scopes(scopes: Any) -> frozenset[str]:
    """Return the scopes as a set. Raises SettingsError for others than there are."""
    try:
        given = _SCOPES.validate_python(scopes, strict=True)
    except ValueError:  # A ValidationError is a ValueError.
        given = []
    if not given:
        raise SettingsError(f"its scopes must be a list of {', '.join(sorted(ALL_SCOPES))}")
    return frozenset(given)


def _entries(tables: _Table, kind: str) -> Iterator[tuple[str, _Table]]:
    entries = tables.get(kind, {})
    if not isinstance(entries, dict):
        raise SettingsError(f"{kind!r} is not a table of entries [{kind}.NAME]")
    for name, table in cast(dict[str, Any], entries).items():
        if not isinstance(table, dict):
            raise SettingsError(f"[{kind}.{name}] is not a table")
        yield name, cast(_Table, table)


def _read_token(name: str, table: _Table) -> Token:
    check_name(name)
    _check_members(f"tokens.{name}", table, "hash")
    digest = table["hash"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise SettingsError(f"[tokens.{name}]: hash must be 'sha256:' and 64 hexadecimal digits")
    return Token(name, digest, *_read_common(f"tokens.{name}", table))


def _read_key(id: str, table: _Table) -> AccessKey:
    if not _KEY_ID.fullmatch(id):
        raise SettingsError(f"[keys.{id}]: an id has 16 to 128 capital letters and digits")
    _check_members(f"keys.{id}", table, "secret", "session_token")
    secret, session_token = table["secret"], table.get("session_token", "")
    for name, text in (("secret", secret), ("session_token", session_token or secret)):
        if not isinstance(text, str) or not _SECRET.fullmatch(text):
            raise SettingsError(
                f"[keys.{id}]: {name} must be a text of 16 printable ASCII characters or more, "
                "without spaces, quotes and backslashes"
            )
    return AccessKey(id, secret, *_read_common(f"keys.{id}", table), session_token)


def _check_members(entry: str, table: _Table, own: str, *optional: str) -> None:
    unknown = table.keys() - {own, *optional, "scopes", "created", "expires"}
    if unknown:
        raise SettingsError(f"[{entry}] has {min(unknown)!r}, which means nothing")
    for name in (own, "scopes"):
        if name not in table:
            raise SettingsError(f"[{entry}] has no {name!r}")


def _read_common(entry: str, table: _Table) -> tuple[frozenset[str], float, float | None]:
    try:
        scopes = check_scopes(table["scopes"])
    except SettingsError as error:
        raise SettingsError(f"[{entry}]: {error}") from None
    created, expires = _read_time(entry, table, "created"), _read_time(entry, table, "expires")
    return scopes, created or 0.0, expires


def _read_time(entry: str, table: _Table, name: str) -> float | None:
    moment = table.get(name)
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise SettingsError(f"[{entry}]: {name} must be a time such as 2027-01-31T12:00:00Z")
    return moment.timestamp()


def _common(entry: Token | AccessKey) -> list[str]:
    scopes = ", ".join(f'"{scope}"' for scope in sorted(entry.scopes))
    times = [f"created = {_format_time(entry.created)}"]
    if entry.expires is not None:
        times.append(f"expires = {_format_time(entry.expires)}")
    return [f"scopes = [{scopes}]", *times, ""]


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
