"""Who may use a route, as data. The host opens what it names when it starts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, cast, get_args
from urllib.parse import urlsplit

from eventmesh.model.access.addresses import is_loopback
from eventmesh.model.access.identity import Identity
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation import HttpRequest
from eventmesh.model.value import value

Check: TypeAlias = Callable[[HttpRequest], Awaitable[Identity | None]]
"""Finds out who sent a request; None where it has no credentials of this kind.

Raises `AccessDenied` for who may not use the route, `Unauthenticated` for credentials that are not
believed, and `Problem` for any other answer.
"""

AUTHORIZATION: Final = "authorization"

_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_CHALLENGE: Final = re.compile(r"[!-~]+(?: [ -~]+)?")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")
"""As RFC 6749 has it, section 3.3: it stands in quotes in an answer."""


@value
class Anyone:
    """Everyone, also without credentials.

    Alone it opens a route of a service that has an authorizer for the others. Beside others it
    makes credentials optional: ones that are given must be good.
    """


@value
class ApiKeys:
    """Callers with a key in a header, whose hash is in a file.

    `file` is TOML, read when the host starts, and again when it has changed:

        [apikeys.partner]
        hash = "sha256:…"                 # of the key, which should have 128 random bits or more
        scopes = ["orders:read"]          # optional
        expires = 2027-01-01T00:00:00Z    # optional

    The caller's principal is "apikey:partner". It must have all of `scopes`.
    """

    file: str
    header: str = "x-api-key"
    scopes: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", _read_header("ApiKeys", self.header))
        object.__setattr__(self, "scopes", _read_scopes("ApiKeys", self.scopes))
        if not isinstance(self.file, str) or not self.file:
            raise DeclarationError(f"ApiKeys: file={self.file!r} is no path of a file")


@value
class Jwt:
    """Callers with a JSON Web Token of an OpenID Connect issuer, as `Authorization: Bearer …`.

    `issuer` is what the token's `iss` has, `audience` one or more of which its `aud` has. `jwks` is
    where the issuer's public keys are: a URL (HTTPS, or HTTP on this machine) or the path of a
    file. The token must have all of `scopes` in its claim `scope` or `scp`.

    The caller's principal is "jwt:" and the token's subject. It needs `eventmesh[jwt]`.
    """

    issuer: str
    audience: str | Sequence[str]
    jwks: str
    scopes: Sequence[str] = ()

    def __post_init__(self) -> None:
        given = (self.audience,) if isinstance(self.audience, str) else tuple(self.audience)
        object.__setattr__(self, "audience", given)
        object.__setattr__(self, "scopes", _read_scopes("Jwt", self.scopes))
        for name, text in (("issuer", self.issuer), ("jwks", self.jwks)):
            if not isinstance(text, str) or not text:
                raise DeclarationError(f"Jwt: {name}={text!r} is no text")
        if "://" in self.jwks and not _is_secure(self.jwks):
            raise DeclarationError(
                f"Jwt: jwks={self.jwks!r}: whoever is between could give other keys; write an "
                "https:// URL, an http:// one of this machine, or the path of a file"
            )
        if not given or not all(isinstance(each, str) and each for each in given):
            raise DeclarationError(
                "Jwt: a token needs an audience: one that was issued for another service would be "
                "accepted otherwise"
            )


@value
class Authorizer:
    """Callers that a coroutine function of one's own identifies.

    `header` is where the credentials are, and `challenge` what an answer 401 says about how to
    send them (RFC 9110, section 11.6.1). An identity that `check` returns is kept for `cache` (a
    duration) and used for requests with the same text in that header; not at all unless asked. It
    must have all of `scopes`.
    """

    check: Check
    header: str = AUTHORIZATION
    challenge: str = "Bearer"
    cache: Duration = 0.0
    scopes: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", _read_header("Authorizer", self.header))
        object.__setattr__(self, "scopes", _read_scopes("Authorizer", self.scopes))
        object.__setattr__(self, "cache", seconds(self.cache, "cache"))
        if not _is_async(self.check):
            raise DeclarationError(
                f"Authorizer: {self.check!r} is no coroutine function: write async def "
                "check(request) -> Identity | None"
            )
        if not isinstance(self.challenge, str) or not _CHALLENGE.fullmatch(self.challenge):
            raise DeclarationError(
                f"Authorizer: challenge={self.challenge!r} is none: write a scheme, such as 'Basic "
                'realm="orders"\''
            )


Alternative: TypeAlias = Anyone | ApiKeys | Jwt | Authorizer

Auth: TypeAlias = Alternative | Sequence[Alternative]
"""What may be declared: one of them, or several of which any is enough."""

Alternatives: TypeAlias = tuple[Alternative, ...]

ANYONE: Final = (Anyone(),)


def read_auth(given: Any, where: str) -> Alternatives | None:
    """Read what is declared as `auth`; None for None. Raises DeclarationError, with advice."""
    if given is None:
        return None
    listed: Sequence[Any] = cast(Sequence[Any], given) if _is_list(given) else (given,)
    alternatives = tuple(listed)
    for why in _problems(alternatives):
        raise DeclarationError(f"{where}: {why}")
    return alternatives


def _is_list(given: object) -> bool:
    return isinstance(given, (list, tuple))


def _problems(alternatives: tuple[Any, ...]) -> Iterator[str]:
    if not alternatives:
        yield "auth=[] lets nobody in: leave it out for the service's own, or write auth=Anyone()"
    for index, each in enumerate(alternatives):
        if isinstance(each, type) or not isinstance(each, get_args(Alternative)):
            wrap = f": write Authorizer({getattr(each, '__name__', '…')})" if callable(each) else ""
            yield f"auth has {each!r}, which is no ApiKeys, Jwt, Authorizer or Anyone{wrap}"
        elif each in alternatives[:index]:
            yield f"auth lists {type(each).__name__} twice with the same options: keep one"


def _read_header(kind: str, name: Any) -> str:
    lower = name.lower() if isinstance(name, str) else ""
    if not _FIELD_NAME.fullmatch(lower):
        raise DeclarationError(f"{kind}: header={name!r} is no name of a header")
    return lower


def _read_scopes(kind: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        raise DeclarationError(f"{kind}: scopes={given!r} is a text: write scopes=[{given!r}]")
    scopes = tuple(given)
    for scope in scopes:
        if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
            raise DeclarationError(f"{kind}: {scope!r} is no scope: write a word without spaces")
    return scopes


def _is_secure(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )


def _is_async(check: Any) -> bool:
    # Of an object it is the method that is called.
    return inspect.iscoroutinefunction(check) or inspect.iscoroutinefunction(
        getattr(check, "__call__", None)  # noqa: B004  # not whether it can be called, but how
    )
