"""API keys: the file that has their hashes, and who a key belongs to."""

from __future__ import annotations

import hashlib
import logging
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from eventmesh.aio.clock import Clock
from eventmesh.model.access.authorizers import ApiKeys
from eventmesh.model.access.identity import Identity
from eventmesh.model.errors import SettingsError, Unauthenticated
from eventmesh.model.invocation import HttpRequest
from eventmesh.model.value import value

TABLE: Final = "apikeys"
METHOD: Final = "apikey"

MAX_FILE: Final = 4 * 1024 * 1024
"""The most bytes of a file of keys."""

MAX_KEY: Final = 1024
"""The most characters of a key."""

CHECK_SECONDS: Final = 1.0
"""The least seconds between two looks at whether the file has changed."""

_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")

_log: Final = logging.getLogger(__name__)


@value
class _Key:
    identity: Identity
    expires: float


class ApiKeyVerifier:
    """Knows callers by the keys whose hashes are in a file.

    Keys are looked up by their hash, so that how long it takes says nothing about a key. A file
    that cannot be read any more leaves the last good keys, and is logged.
    """

    def __init__(self, declared: ApiKeys, clock: Clock) -> None:
        """Raises SettingsError for a file that cannot be used."""
        self.challenge = f'ApiKey header="{declared.header}"'
        self._header = declared.header
        self._path = Path(declared.file)
        self._clock = clock
        self._stamp, self._keys = self._stat(), self._load()
        self._looked = clock.now()

    async def identify(self, request: HttpRequest) -> Identity | None:
        """Find out whose key a request has; None without a key. Raises Unauthenticated."""
        given = request.headers.get(self._header)
        if given is None:
            return None
        self._reload()
        digest = hashlib.sha256(given.encode(errors="surrogateescape")).hexdigest()
        key = self._keys.get(digest) if len(given) <= MAX_KEY else None
        if key is None or key.expires <= self._clock.now():
            raise Unauthenticated("the API key is not known, or has expired", self.challenge)
        return key.identity

    def _reload(self) -> None:
        now = self._clock.now()
        if 0 <= now - self._looked < CHECK_SECONDS:
            return
        self._looked = now
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._load()
        except SettingsError:
            _log.exception("the API keys before the change stay in use")

    def _stat(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> Mapping[str, _Key]:
        try:
            if self._path.stat().st_size > MAX_FILE:
                raise ValueError(f"it has more than {MAX_FILE:,} bytes")
            return dict(_read_keys(tomllib.loads(self._path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"the file of API keys {str(self._path)!r} cannot be used ({reason}): it has "
                f'tables [{TABLE}.NAME] with hash="sha256:…", and perhaps scopes and expires'
            ) from None


def _read_keys(document: Mapping[str, Any]) -> Iterator[tuple[str, _Key]]:
    """Read the keys, by their hashes. Raises ValueError, without what might be a secret."""
    tables = document.get(TABLE, {})
    if not isinstance(tables, dict):
        raise ValueError(f"[{TABLE}] has no tables")  # noqa: TRY004  # of a file, not of code
    for name, table in cast(dict[str, Any], tables).items():
        if not isinstance(table, dict):
            raise ValueError(f"[{TABLE}.{name}] is no table")  # noqa: TRY004
        fields = cast(dict[str, Any], table)
        found = _HASH.fullmatch(str(fields.get("hash")))
        if found is None:
            raise ValueError(
                f"[{TABLE}.{name}] has no hash: sha256: and 64 digits in small letters"
            )
        scopes: list[Any] = fields.get("scopes", [])
        if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
            raise ValueError(f"[{TABLE}.{name}]: scopes is no list of texts")
        identity = Identity(f"{METHOD}:{name}", METHOD, frozenset(scopes))
        yield found[1], _Key(identity, _expiry(name, fields.get("expires")))


def _expiry(name: str, given: Any) -> float:
    if given is None:
        return float("inf")
    if not isinstance(given, datetime):
        raise ValueError(f"[{TABLE}.{name}]: expires is no time: 2027-01-01T00:00:00Z")  # noqa: TRY004
    moment = given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    return moment.timestamp()
