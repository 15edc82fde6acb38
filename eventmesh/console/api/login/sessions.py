"""Who is logged in: sessions in this process, each known to a browser by a random cookie."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from math import ceil
from typing import Final

from eventmesh.aio.clock import Clock
from eventmesh.console.api.login.cookies import Cookie
from eventmesh.http.server.cross_origin import FETCH_SITE, SAFE
from eventmesh.http.server.request import Request
from eventmesh.model.access.identity import Identity
from eventmesh.model.errors import AccessDenied, Unauthenticated
from eventmesh.model.value import value

SESSION: Final = "oidc"
"""The method of an identity that was verified by a session."""

MAX_SESSIONS: Final = 1000
"""The most sessions; one more ends the oldest."""

MAX_OF_ONE: Final = 10
"""The most sessions of one person; one more ends that person's oldest."""

MAX_SECONDS: Final = 12 * 3600.0
"""Seconds after which a session ends, however long its ID token is valid."""

_OWN_SITES: Final = ("", "same-origin", "none")


@value
class _Session:
    identity: Identity
    ends: float


class Sessions:
    """The sessions, by the hashes of the texts in their cookies.

    Whoever reads this memory cannot use them, and how long a look-up takes says nothing about one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[bytes, _Session] = {}

    def begin(self, identity: Identity, expires: float) -> tuple[str, int]:
        """Begin a session until a time, in seconds since the epoch, or for `MAX_SECONDS`.

        Return the text of its cookie, and its seconds. Raises Unauthenticated if none are left.
        """
        now = self._clock.now()
        left = min(expires - now, MAX_SECONDS)
        if left <= 0:
            raise Unauthenticated("the ID token has expired")
        self._make_room(identity.principal, now)
        text = secrets.token_urlsafe(32)
        self._sessions[_digest(text)] = _Session(identity, now + left)
        return text, ceil(left)

    def find(self, text: str) -> Identity | None:
        """Find who is logged in by a cookie's text; None where its session is unknown or over."""
        digest = _digest(text)
        session = self._sessions.get(digest)
        if session is None:
            return None
        if session.ends <= self._clock.now():
            del self._sessions[digest]
            return None
        return session.identity

    def end(self, text: str) -> None:
        """End a session, if there is one."""
        self._sessions.pop(_digest(text), None)

    def _make_room(self, principal: str, now: float) -> None:
        for digest in [key for key, each in self._sessions.items() if each.ends <= now]:
            del self._sessions[digest]
        own = [key for key, s in self._sessions.items() if s.identity.principal == principal]
        for digest in own[: max(0, len(own) - MAX_OF_ONE + 1)]:
            del self._sessions[digest]
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]


class SessionAuthenticator:
    """Knows people by the cookies of their sessions.

    Browsers send cookies whichever page asks: what does not come from a page of the console's own
    origin is refused. A request with `Authorization` is not looked at: what it says there counts.
    """

    def __init__(self, sessions: Sessions, cookie: Cookie, origin: str) -> None:
        self._sessions = sessions
        self._cookie = cookie
        self._origin = origin

    async def authenticate(self, request: Request) -> Identity | None:
        """Find the session. Raises Unauthenticated where it is over, and AccessDenied."""
        text = self._read(request)
        if not text:
            return None
        identity = self._sessions.find(text)
        if identity is None:
            raise Unauthenticated("the session has ended: log in again")
        self._check_page(request)
        return identity

    def lasts(self, request: Request) -> bool:
        """Whether a request that was admitted, and still goes on, would be again."""
        text = self._read(request)
        return not text or self._sessions.find(text) is not None

    def _read(self, request: Request) -> str:
        return "" if "Authorization" in request.headers else self._cookie.read(request)

    def _check_page(self, request: Request) -> None:
        origins: Sequence[str] = request.headers.getall("Origin", ())
        if others := [origin for origin in origins if origin != self._origin]:
            raise AccessDenied(f"pages of {others[0]!r} may not do this")
        if request.method not in SAFE and len(origins) != 1:
            raise AccessDenied("a change by a session needs the header Origin, which browsers send")
        if request.headers.get(FETCH_SITE, "") not in _OWN_SITES:
            raise AccessDenied("pages of other origins may not do this")


class LoginWanted:
    """Stands behind all that know somebody: a request that comes to it has no credentials."""

    async def authenticate(self, request: Request) -> Identity | None:  # noqa: ARG002  # the port's
        """Raise Unauthenticated."""
        raise Unauthenticated("you are not logged in")


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogateescape")).digest()
