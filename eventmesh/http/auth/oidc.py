"""The client of an OpenID Connect provider: the authorization code flow with PKCE.

https://openid.net/specs/openid-connect-core-1_0.html, section 3.1; RFC 7636; RFC 9207. What a
provider says is believed as far as TLS and the signature of the ID token prove it, and nothing of
it is repeated to others but the name of an error.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import field
from hashlib import sha256
from typing import Any, Final, cast
from urllib.parse import quote_plus, urlencode

import orjson

from eventmesh.aio.clock import Clock
from eventmesh.http.auth.fetch import FETCH_ERRORS, Fetched, check_url, fetch
from eventmesh.http.auth.jwt import JwtVerifier, check_installed, texts_of
from eventmesh.http.server.problems import retryable_problem
from eventmesh.model.errors import DeclarationError, Problem, SettingsError, Unauthenticated
from eventmesh.model.value import value

FRESH_SECONDS: Final = 600.0
"""Seconds after which the provider's description is fetched again."""

RETRY_SECONDS: Final = 5.0
"""The least seconds between two attempts: a provider that is away is not asked for each caller."""

MAX_AT_ONCE: Final = 20
"""Codes that are redeemed at once: who begins many logins makes us ask the provider no faster."""

MAX_CODE: Final = 4096
"""The most characters of a code."""

_SUCCESS: Final = 200
_ERROR: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""The name of an error (RFC 6749, section 4.1.2.1)."""
_PRINTABLE: Final = re.compile(r"[!-~]{1,2048}")

_log: Final = logging.getLogger(__name__)


@value
class OidcClient:
    """What the console is at a provider. With `secret` "" it is a public client.

    The provider sends browsers back to `redirect_uri`; `scope` is what it is asked for.
    """

    issuer: str
    id: str
    redirect_uri: str
    secret: str = field(default="", repr=False)
    scope: str = "openid"


@value
class Attempt:
    """The secrets of one login, each of which was made for it alone."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@value
class _Metadata:
    """What a provider's description says (OpenID Connect Discovery, section 3)."""

    authorization: str
    token: str
    posts_secret: bool
    names_issuer: bool
    verifier: JwtVerifier


class OidcProvider:
    """Has people log in at one provider."""

    def __init__(self, client: OidcClient, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        """`tasks` fetch the provider's keys. Raises SettingsError and DeclarationError."""
        check_installed()
        check_url(client.issuer, "a provider cannot be at")
        if "openid" not in client.scope.split():
            raise DeclarationError(f"the scope {client.scope!r} lacks openid: no ID token comes")
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._metadata: _Metadata | None = None
        self._jwks = ""
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()
        self._redeeming = asyncio.Semaphore(MAX_AT_ONCE)

    async def begin(self, attempt: Attempt) -> str:
        """Return the URL at which a browser logs in. Raises Problem 502."""
        metadata = await self._discover()
        digest = sha256(attempt.verifier.encode()).digest()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._client.id,
                "redirect_uri": self._client.redirect_uri,
                "scope": self._client.scope,
                "state": attempt.state,
                "nonce": attempt.nonce,
                "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        )
        return f"{metadata.authorization}{'&' if '?' in metadata.authorization else '?'}{query}"

    async def finish(
        self, attempt: Attempt, answer: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Any]:
        """Return the claims of who logged in, by what the provider's redirect has in its query.

        That its `state` is the attempt's, the caller has checked. Raises Unauthenticated for what
        is not believed, and Problem where the provider refuses or cannot be asked.
        """
        metadata = await self._discover()
        issuer = _single(answer, "iss")
        if issuer != self._client.issuer and (issuer or metadata.names_issuer):
            raise Unauthenticated("the answer is of another provider")
        if "error" in answer:
            raise Problem(403, f"the provider refused the login: {_name(_single(answer, 'error'))}")
        code = _single(answer, "code")
        if not 0 < len(code) <= MAX_CODE:
            raise Problem(400, "the provider's answer has no code")
        if self._redeeming.locked():
            raise retryable_problem(503, "too many people log in at once", RETRY_SECONDS)
        async with self._redeeming:
            token = await self._redeem(metadata, code, attempt)
        claims = await metadata.verifier.verify(token)
        self._check_claims(claims, attempt)
        return claims

    async def _redeem(self, metadata: _Metadata, code: str, attempt: Attempt) -> str:
        """Return the ID token for a code. Raises Problem."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.redirect_uri,
            "code_verifier": attempt.verifier,
            "client_id": self._client.id,
        }
        headers: dict[str, str] = {}
        if self._client.secret and metadata.posts_secret:
            form["client_secret"] = self._client.secret
        elif self._client.secret:
            # Encoded as a form first (RFC 6749, section 2.3.1).
            pair = f"{quote_plus(self._client.id)}:{quote_plus(self._client.secret)}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        try:
            fetched = await fetch(self._clock, metadata.token, form, headers)
            return _read_id_token(fetched)
        except FETCH_ERRORS as error:
            raise self._unavailable("its token endpoint", error) from None

    def _check_claims(self, claims: Mapping[str, Any], attempt: Attempt) -> None:
        """Raise Unauthenticated for an ID token of another login or client (3.1.3.7)."""
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(errors="replace"), attempt.nonce.encode()
        ):
            raise Unauthenticated("the ID token is of another login: its nonce is not ours")
        audience, party = claims.get("aud"), claims.get("azp")
        several = isinstance(audience, list) and audience != [self._client.id]
        if party != self._client.id and (several or party is not None):
            raise Unauthenticated("the ID token is for another client: see its azp")
        if "iat" not in claims:
            raise Unauthenticated("the ID token does not say when it was issued")

    async def _discover(self) -> _Metadata:
        """Return the provider's description, perhaps an old one. Raises Problem 502 without one.

        One request fetches it, and the others wait for that.
        """
        if self._clock.monotonic() - self._fetched >= FRESH_SECONDS or self._metadata is None:
            async with self._lock:
                if self._clock.monotonic() - self._tried >= RETRY_SECONDS:
                    await self._fetch_metadata()
        if self._metadata is None:
            raise Problem(
                502, "the identity provider cannot be used now: the console's log says why"
            )
        return self._metadata

    async def _fetch_metadata(self) -> None:
        url = f"{self._client.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            fetched = await fetch(self._clock, url)
            fetched.check_success()
            self._metadata = self._read_metadata(orjson.loads(fetched.body))
            self._fetched = self._clock.monotonic()
        except (*FETCH_ERRORS, SettingsError) as error:
            self._unavailable(f"its description at {url}", error)
        finally:
            self._tried = self._clock.monotonic()

    def _read_metadata(self, document: Any) -> _Metadata:
        """Read a description. Raises ValueError and SettingsError for one that cannot be used."""
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")  # noqa: TRY004  # of a document, not of code
        members = cast(dict[str, Any], document)
        if members.get("issuer") != self._client.issuer:
            # Section 4.3: else one provider could have the users of another log in.
            raise ValueError(f"its issuer is not {self._client.issuer!r}, to the letter")
        methods = members.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise ValueError("it does not support PKCE with S256")
        ways = members.get("token_endpoint_auth_methods_supported")
        named = frozenset(texts_of(ways))
        jwks = _endpoint(members, "jwks_uri")
        return _Metadata(
            _endpoint(members, "authorization_endpoint"),
            _endpoint(members, "token_endpoint"),
            "client_secret_post" in named and "client_secret_basic" not in named,
            members.get("authorization_response_iss_parameter_supported") is True,
            self._verifier_for(jwks),
        )

    def _verifier_for(self, jwks: str) -> JwtVerifier:
        """Return what verifies ID tokens: the same one while its keys are where they were."""
        if self._metadata is not None and jwks == self._jwks:
            return self._metadata.verifier
        verifier = JwtVerifier(
            self._client.issuer, self._client.id, jwks_url=jwks, clock=self._clock
        )
        verifier.use_tasks(self._tasks)
        self._jwks = jwks
        return verifier

    def _unavailable(self, what: str, error: Exception) -> Problem:
        reason = str(error) or type(error).__name__
        _log.warning("the provider %s, %s: %s", self._client.issuer, what, reason)
        return Problem(502, "the identity provider cannot be used now: the console's log says why")


def _read_id_token(fetched: Fetched) -> str:
    """Read the ID token in an answer. Raises ValueError, or Problem 403 where it has an error."""
    members: Any = orjson.loads(fetched.body)
    if not isinstance(members, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004  # of a document
    answer = cast(dict[str, Any], members)
    if fetched.status != _SUCCESS:
        name = _name(answer.get("error"))
        # A code that was used, or a secret that is wrong: which of them is for the log.
        _log.warning("a code was refused with %s (%s)", fetched.status, name)
        raise Problem(403, f"the provider refused the login: {name}")
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise ValueError("the answer has no ID token")  # noqa: TRY004  # of a document
    return token


def _endpoint(members: Mapping[str, Any], name: str) -> str:
    url = members.get(name)
    if not isinstance(url, str) or not _PRINTABLE.fullmatch(url) or "#" in url:
        raise ValueError(f"its {name} is no URL")
    return check_url(url, f"its {name} cannot be")


def _single(answer: Mapping[str, Sequence[str]], name: str) -> str:
    """A parameter of the answer, "" without it. Raises Problem 400 for one that comes twice."""
    texts = answer.get(name, ("",))
    if len(texts) != 1:
        raise Problem(400, f"the provider's answer has {name} twice")
    return texts[0]


def _name(error: Any) -> str:
    """The name of a provider's error, if it is written like one."""
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else "an unknown error"
