"""JSON Web Tokens of an OpenID Connect issuer as credentials (RFC 7519, 8725 and 9068).

What a token has to be: signed by a key of the issuer with an expected, by default asymmetric,
algorithm; for one of our audiences; neither expired nor for later. All that its header says about
where keys are is ignored.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, cast

from aiohttp import hdrs

from eventmesh.aio.clock import Clock, SystemClock
from eventmesh.http.server.request import Request
from eventmesh.model.access.identity import ALL_SCOPES, Identity
from eventmesh.model.errors import DeclarationError, Unauthenticated
from eventmesh.model.value import value

ASYMMETRIC: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
    "Ed25519", "EdDSA",
)  # fmt: skip
"""Algorithms whose keys for verifying cannot sign."""

SYMMETRIC: Final = ("HS256", "HS384", "HS512")
"""Algorithms with a shared secret: only with keys that are given, and only where asked for."""

MAX_TOKEN: Final = 16 * 1024
"""The most characters of a token."""

MAX_SUBJECT: Final = 255
"""The most characters of the claim `sub` (OpenID Connect Core, section 2)."""

LEEWAY: Final = 60.0
"""Seconds by which the issuer's clock may differ from ours."""

SCOPE_PREFIX: Final = "eventmesh:"
"""What the scopes of the built-in APIs begin with in a token: `eventmesh:invoke`."""

MAX_KEPT: Final = 1000
MAX_KEPT_BYTES: Final = 4096
"""How many payloads of verified tokens are kept, and of how many bytes each at most."""

_NOT_INSTALLED: Final = "JWTs need joserfc: install eventmesh[jwt]"


@value
class _Verified:
    """A token's payload, and the id and the set of the keys that it was verified with."""

    key_id: str | None
    keys: Mapping[str | None, Any]
    payload: bytes


class JwtVerifier:
    """Verifies the tokens of one issuer.

    `issuer` is what their claim `iss` has, and `audience` one or more, one of which their `aud`
    has. The issuer's public keys are at `jwks_url` (HTTPS, or HTTP on this machine), in the file
    `jwks_file`, or `keys`: a JWK set (RFC 7517), decoded. Clocks may differ by `leeway` seconds.

    Raises DeclarationError for options that make no sense, and SettingsError for keys that cannot
    be used.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Sequence[str],
        *,
        jwks_url: str = "",
        jwks_file: str = "",
        keys: Mapping[str, Any] | None = None,
        algorithms: Sequence[str] = ASYMMETRIC,
        leeway: float = LEEWAY,
        clock: Clock | None = None,
    ) -> None:
        check_installed()
        # An optional part: only who verifies tokens has it installed.
        from eventmesh.http.auth import jose, jwks  # noqa: PLC0415

        self.issuer = issuer
        self._audiences = frozenset((audience,) if isinstance(audience, str) else audience)
        _check_options(issuer, self._audiences, (jwks_url, jwks_file, keys))
        _check_algorithms(algorithms, shared=not jwks_url)
        self._leeway = leeway
        self._clock = SystemClock() if clock is None else clock
        self._signatures = jose.SignatureCheck(algorithms)
        self._load_claims = jose.load_claims
        self._kept: dict[bytes, _Verified] = {}

        def load(document: Any) -> jose.KeySet:
            return jose.load_keys(document, algorithms)

        self._source: jwks.KeySource
        if jwks_url:
            self._source = jwks.FetchedKeys(jwks_url, load, self._clock)
        elif jwks_file:
            self._source = jwks.read_keys_file(jwks_file, load)
        else:
            self._source = jwks.FixedKeys(_load_given(load, keys))

    def use_tasks(self, tasks: asyncio.TaskGroup) -> None:
        """Fetch old keys again in tasks of that group, so that no request waits for them."""
        self._source.use_tasks(tasks)

    async def verify(self, token: str) -> Mapping[str, Any]:
        """Verify a token and return its claims.

        Raises Unauthenticated, which says why it is not accepted, and Problem 503 while there are
        no keys to verify it with.
        """
        try:
            if len(token) > MAX_TOKEN or not token.isascii():
                raise ValueError(f"the token is over {MAX_TOKEN:,} characters, or not ASCII")
            claims = self._load_claims(await self._find_payload(token))
            self._check_claims(claims)
        except ValueError as error:
            raise Unauthenticated(str(error), _challenge(str(error))) from None
        return claims

    async def _find_payload(self, token: str) -> bytes:
        """Return what the issuer has signed. Raises ValueError.

        Verifying costs a hundred times what looking up does, and most tokens come again. A kept
        payload counts only with the very keys that it was verified with, and as to its times, it is
        checked like a new one.
        """
        digest = sha256(token.encode()).digest()
        kept = self._kept.get(digest)
        if kept is not None and await self._source.keys(kept.key_id) is kept.keys:
            return kept.payload
        signed = self._signatures.parse(token)
        keys = await self._source.keys(signed.key_id)
        found = self._signatures.find_keys(keys, signed)
        if not found:
            raise ValueError("the token's key is not one of the issuer's for its algorithm")
        payload = self._signatures.verify(signed, found)
        if len(payload) <= MAX_KEPT_BYTES:
            self._kept[digest] = _Verified(signed.key_id, keys, payload)
            if len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]
        return payload

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        """Raise ValueError for the claims of a token that is not for us, or not for now."""
        if claims.get("iss") != self.issuer:
            raise ValueError("the token is of another issuer")
        audience = claims.get("aud")
        if self._audiences.isdisjoint(texts_of(audience)):
            raise ValueError("the token is for another audience")
        now = self._clock.now()
        if _moment(claims, "exp", required=True) <= now - self._leeway:
            raise ValueError("the token has expired")
        if _moment(claims, "nbf") > now + self._leeway:
            raise ValueError("the token is not valid yet")
        if _moment(claims, "iat") > now + self._leeway:
            raise ValueError("the token was issued in the future")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
            raise ValueError(f"the token has no subject of 1 to {MAX_SUBJECT} characters")


def check_installed() -> None:
    """Raise DeclarationError where tokens cannot be verified."""
    try:
        import_module("eventmesh.http.auth.jose")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "joserfc":
            raise
        raise DeclarationError(_NOT_INSTALLED) from None


class JwtAuthenticator:
    """Takes tokens as `Authorization: Bearer …` (RFC 6750, section 2.1)."""

    def __init__(self, verifier: JwtVerifier, scope_prefix: str = SCOPE_PREFIX) -> None:
        self._verifier = verifier
        self._scope_prefix = scope_prefix

    async def authenticate(self, request: Request) -> Identity | None:
        if len(request.headers.getall(hdrs.AUTHORIZATION, ())) > 1:
            # Whatever stands before us may have looked at another one.
            raise Unauthenticated("there are several Authorization headers: send one")
        token = read_bearer(request.headers)
        if token is None or token.count(".") != 2:  # noqa: PLR2004  # header, claims, signature
            return None
        return identity_from(await self._verifier.verify(token), self._scope_prefix)


def read_bearer(headers: Mapping[str, str]) -> str | None:
    """Read the token of a bearer; None where there is none."""
    scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def identity_from(claims: Mapping[str, Any], scope_prefix: str = SCOPE_PREFIX) -> Identity:
    """Build the identity of who bears a token with these claims, which were verified."""
    scopes = granted_scopes(token_scopes(claims), scope_prefix)
    return Identity(f"jwt:{claims['sub']}", "jwt", scopes, claims)


def granted_scopes(given: Iterable[str], prefix: str = SCOPE_PREFIX) -> frozenset[str]:
    """The scopes of the built-in APIs that texts such as `eventmesh:read` grant; `*` is all."""
    names = {text.removeprefix(prefix) for text in given if text.startswith(prefix)}
    return ALL_SCOPES if "*" in names else ALL_SCOPES & names


def token_scopes(claims: Mapping[str, Any], claim: str = "scope") -> frozenset[str]:
    """The texts in a claim: words, or a list.

    Those of `scope` (RFC 9068, 2.2.3) may be in `scp`, as others write it.
    """
    given = claims.get(claim, claims.get("scp") if claim == "scope" else None)
    return frozenset(given.split() if isinstance(given, str) else texts_of(given))


def texts_of(claim: Any) -> Iterable[str]:
    """The texts in a claim that is one or a list; others are left out."""
    members = cast(Sequence[Any], claim if isinstance(claim, list) else (claim,))
    return [member for member in members if isinstance(member, str)]


def _moment(claims: Mapping[str, Any], name: str, *, required: bool = False) -> float:
    moment = claims.get(name)
    if moment is None and not required:
        return -math.inf
    if isinstance(moment, bool) or not isinstance(moment, (int, float)):
        raise ValueError(f"the token's claim {name} is not a time")  # noqa: TRY004
    return moment


def _challenge(reason: str) -> str:
    return f'Bearer error="invalid_token", error_description="{reason}"'


def _check_options(
    issuer: str, audiences: frozenset[str], sources: tuple[str, str, Mapping[str, Any] | None]
) -> None:
    if not issuer or not audiences or "" in audiences:
        raise DeclarationError(
            "a JWT needs an issuer and an audience: a token that was issued for another service "
            "would be accepted otherwise"
        )
    if sum(source not in ("", None) for source in sources) != 1:
        raise DeclarationError("give the issuer's keys in one way: jwks_url, jwks_file or keys")


def _check_algorithms(algorithms: Sequence[str], *, shared: bool) -> None:
    known = (*ASYMMETRIC, *SYMMETRIC) if shared else ASYMMETRIC
    if isinstance(algorithms, str) or not algorithms or not set(algorithms) <= set(known):
        raise DeclarationError(
            f"algorithms={algorithms!r}: name some of {', '.join(known)}"
            + ("" if shared else "; keys at a URL are public, and can be no shared secrets")
        )
    if not set(algorithms).isdisjoint(SYMMETRIC) and not set(algorithms) <= set(SYMMETRIC):
        raise DeclarationError(
            "algorithms with a shared secret (HS…) and with a public key cannot be mixed: a public "
            "key could be taken for a secret"
        )


def _load_given(load: Any, keys: Mapping[str, Any] | None) -> Any:
    try:
        return load(keys)
    except ValueError as error:
        raise DeclarationError(f"keys: {error}") from None
