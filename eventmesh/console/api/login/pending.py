"""Logins that have begun and not ended, in the cookies of their browsers.

Nothing of them is kept here: who begins logins without end fills no memory, and drives out nobody
else's. Only the browser in which one has begun can end it, as it alone has the cookie.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import orjson

from eventmesh.aio.clock import Clock
from eventmesh.http.auth.oidc import Attempt
from eventmesh.model.value import value

LOGIN_SECONDS: Final = 600
"""Seconds that a person has to log in at the provider."""

MAX_USED: Final = 10_000
"""States of ended logins that are remembered; the provider takes no code twice either."""

MAX_TEXT: Final = 3000

_TEXT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@value
class Pending:
    """A login: its secrets, and the path of the screen to return to."""

    attempt: Attempt
    path: str


class PendingLogins:
    """Begins logins, and recognises them when they end, once.

    What a cookie has is signed with a key of this process, and tells no secret: nonce and verifier
    are derived from the state by that key.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._used: dict[str, None] = {}

    def begin(self, path: str) -> tuple[Pending, str]:
        """Begin a login that returns to a path; return it, and the text of its cookie."""
        state = secrets.token_urlsafe(32)
        until = int(self._clock.now()) + LOGIN_SECONDS
        content = urlsafe_b64encode(orjson.dumps([state, path, until])).rstrip(b"=").decode()
        return Pending(self._attempt(state), path), f"{content}.{self._derive('cookie', content)}"

    def end(self, text: str, state: str) -> Pending | None:
        """Return the login of a cookie, if it is the one with that state, the first time."""
        found = _TEXT.fullmatch(text) if len(text) <= MAX_TEXT else None
        if found is None or not hmac.compare_digest(found[2], self._derive("cookie", found[1])):
            return None
        # Signed by us: it is what `begin` wrote.
        ours: Any = orjson.loads(urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)))
        known, path, until = ours
        if not hmac.compare_digest(str(known), state) or until <= self._clock.now():
            return None
        if known in self._used:
            return None
        self._used[known] = None
        if len(self._used) > MAX_USED:
            del self._used[next(iter(self._used))]
        return Pending(self._attempt(known), path)

    def _attempt(self, state: str) -> Attempt:
        return Attempt(state, self._derive("nonce", state), self._derive("verifier", state))

    def _derive(self, purpose: str, text: str) -> str:
        digest = hmac.digest(self._key, f"{purpose}:{text}".encode(), "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode()
