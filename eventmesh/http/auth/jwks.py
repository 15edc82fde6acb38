"""The public keys of an issuer of tokens, from its JWK set: given, in a file or at a URL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from eventmesh.aio.clock import Clock
from eventmesh.http.auth.fetch import FETCH_ERRORS, check_url, fetch
from eventmesh.http.auth.jose import KeySet
from eventmesh.http.server.problems import retryable_problem
from eventmesh.model.errors import SettingsError

FRESH_SECONDS: Final = 600.0
"""Seconds after which a set is fetched again: so long is a withdrawn key accepted."""

RETRY_SECONDS: Final = 10.0
"""The least seconds between two attempts: tokens with invented key ids cause no more requests."""

LoadKeys = Callable[[Any], KeySet]
"""Makes keys of a document, decoded JSON. Raises ValueError, which says what is wrong with it."""

_log: Final = logging.getLogger(__name__)


class KeySource(Protocol):
    """Where the keys of an issuer are."""

    async def keys(self, wanted: str | None) -> KeySet:
        """Return the keys, at best with one of that id. Raises Problem 503 if there are none."""
        ...

    def use_tasks(self, tasks: asyncio.TaskGroup) -> None:
        """Fetch old keys again in tasks of that group, so that no request waits for them."""
        ...


class FixedKeys:
    """Keys that do not change."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    async def keys(self, wanted: str | None) -> KeySet:  # noqa: ARG002  # the port's
        return self._keys

    def use_tasks(self, tasks: asyncio.TaskGroup) -> None:
        pass


def read_keys_file(path: str, load: LoadKeys) -> FixedKeys:
    """Read the keys in a file. Raises SettingsError."""
    try:
        return FixedKeys(load(orjson.loads(Path(path).read_bytes())))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"the JWK set {path!r} cannot be used ({reason}): it is a JSON file with the issuer's "
            "public keys"
        ) from None


class FetchedKeys:
    """Keys at a URL, fetched when they are first needed, when they are old, and for a new key id.

    The last good set is kept and used while there is no newer one. Only a request with an unknown
    key id waits, and only if none was fetched in the last `RETRY_SECONDS`; a set that is merely old
    is fetched by a task, where there is a group for it, while requests use the old one.
    """

    def __init__(self, url: str, load: LoadKeys, clock: Clock) -> None:
        """Raises SettingsError for a URL that is neither HTTPS nor of this machine."""
        self._url = check_url(url, "keys cannot be fetched from")
        self._load = load
        self._clock = clock
        self._keys: KeySet = {}
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()
        self._refreshing = False
        self._tasks: asyncio.TaskGroup | None = None

    def use_tasks(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    async def keys(self, wanted: str | None) -> KeySet:
        keys, now = self._keys, self._clock.now()
        if keys and (wanted is None or wanted in keys):
            if now - self._fetched > FRESH_SECONDS and self._may_try(now):
                await self._refresh(now)
            return self._keys
        if self._lock.locked() or now - self._tried >= RETRY_SECONDS:
            await self._fetch_once(now)
        if not self._keys:
            raise retryable_problem(503, "the keys of tokens cannot be had now", RETRY_SECONDS)
        return self._keys

    def _may_try(self, now: float) -> bool:
        idle = not self._refreshing and not self._lock.locked()
        return idle and now - self._tried >= RETRY_SECONDS

    async def _refresh(self, now: float) -> None:
        if self._tasks is None:
            await self._fetch_once(now)
        else:
            self._refreshing = True
            self._tasks.create_task(self._refresh_beside(now))

    async def _refresh_beside(self, now: float) -> None:
        try:
            await self._fetch_once(now)
        finally:
            self._refreshing = False

    async def _fetch_once(self, asked: float) -> None:
        """Fetch the keys unless another request has tried that meanwhile; keep the old ones else.

        The others wait for the one that does: if it is cancelled, the next one takes its turn.
        """
        async with self._lock:
            if self._tried >= asked:
                return
            try:
                answer = await fetch(self._clock, self._url)
                answer.check_success()
                self._keys = self._load(orjson.loads(answer.body))
                self._fetched = self._clock.now()
            except FETCH_ERRORS as error:
                reason = str(error) or type(error).__name__
                _log.warning("the keys at %s cannot be had: %s", self._url, reason)
            self._tried = max(self._clock.now(), asked)
