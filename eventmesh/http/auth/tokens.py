"""Bearer tokens (RFC 6750) from the file with credentials."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs

from eventmesh.aio.clock import Clock
from eventmesh.http.auth.credential_file import CredentialFile
from eventmesh.http.server.request import Request
from eventmesh.model.access.credentials import TOKEN_PREFIX, digest_token
from eventmesh.model.access.identity import Identity
from eventmesh.model.errors import Unauthenticated

_BEARER: Final = "bearer"
_MAX_TOKEN: Final = 256
_INVALID: Final = 'Bearer error="invalid_token"'


class TokenAuthenticator:
    """Knows the bearers of tokens that begin with `TOKEN_PREFIX`."""

    def __init__(self, file: CredentialFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    async def authenticate(self, request: Request) -> Identity | None:
        """Find the token. Raises Unauthenticated for one that is unknown, or has expired."""
        token = read_bearer(request)
        if token is None or not token.startswith(TOKEN_PREFIX):
            return None
        # Found by its digest: how long a look-up takes says nothing about a token.
        digest = digest_token(token) if len(token) <= _MAX_TOKEN else ""
        known = self._file.credentials.tokens.get(digest)
        if known is None:
            raise Unauthenticated("the token is not known, or was revoked", _INVALID)
        if known.expires is not None and known.expires <= self._clock.now():
            raise Unauthenticated(f"the token {known.name!r} has expired", _INVALID)
        return Identity(known.principal, "token", known.scopes)


def read_bearer(request: Request) -> str | None:
    """Return the bearer token of a request; None if it has none.

    Raises Unauthenticated where there are several Authorization headers.
    """
    given = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(given) > 1:
        raise Unauthenticated("there are several Authorization headers: send one")
    scheme, _, token = given[0].partition(" ") if given else ("", "", "")
    return token.strip() if scheme.lower() == _BEARER else None
