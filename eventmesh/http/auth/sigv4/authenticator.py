"""Verifies the signatures of requests."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from aiohttp import hdrs

from eventmesh.aio.clock import Clock
from eventmesh.http.auth.sigv4.canonical import (
    UNSIGNED_PAYLOAD,
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    hash_payload,
    parse_pairs,
    sign,
)
from eventmesh.http.auth.sigv4.refusal import (
    EXPIRED,
    INCOMPLETE,
    INVALID,
    KEY_EXPIRED,
    MISMATCH,
    NO_SUCH_KEY,
    UNKNOWN,
    SignatureRefused,
)
from eventmesh.http.auth.sigv4.signature import Signature, parse_authorization, parse_presigned
from eventmesh.http.server.body import BodyLimit, read_body
from eventmesh.http.server.request import MAX_QUERY_FIELDS, Request
from eventmesh.model.access.identity import Identity
from eventmesh.model.errors import Problem

MAX_SKEW: Final = 300.0
"""Seconds by which the clock of a client may differ from ours, as at AWS."""

MUST_BE_SIGNED: Final = ("x-amz-", "x-eventmesh-", "ce-")
"""How the names of headers begin that change what a request means."""

_SIGNATURE: Final = b"X-Amz-Signature"
_CONTENT_SHA256: Final = "x-amz-content-sha256"


class SigningKey(Protocol):
    """An access key."""

    @property
    def secret(self) -> str: ...
    @property
    def scopes(self) -> frozenset[str]: ...
    @property
    def expires(self) -> float | None:
        """When it expires, in seconds since the epoch."""
        ...

    @property
    def session_token(self) -> str:
        """What requests have to send beside it; empty for a key that lasts."""
        ...

    @property
    def principal(self) -> str: ...


FindKey: TypeAlias = Callable[[str], SigningKey | None]
"""Finds an access key by its id."""


class SigV4Authenticator:
    """Knows who signed requests: by an Authorization header, or in the query of a presigned URL.

    The body is read, up to `limit`, once the key is known and the date is right; the endpoint then
    finds it read. Raises SignatureRefused with the codes of AWS.
    """

    def __init__(self, find_key: FindKey, clock: Clock, limit: BodyLimit) -> None:
        self._find_key = find_key
        self._clock = clock
        self._limit = limit

    async def authenticate(self, request: Request) -> Identity | None:
        given = list(request.headers.getall(hdrs.AUTHORIZATION, ()))
        by_header = any(text.startswith("AWS") for text in given)
        query = request.target.partition("?")[2]
        presigned = "X-Amz-Signature=" in query or "X-Amz-Algorithm=" in query
        if not by_header and not presigned:
            return None
        if len(given) > 1 or (by_header and presigned):
            raise SignatureRefused(INCOMPLETE, "A request must be signed in one way: send one.")
        parameters = _parse_query(query)
        if by_header:
            token = request.headers.get("x-amz-security-token", "")
            moment = request.headers.get("x-amz-date")
            signature = parse_authorization(given[0], moment, token)
        else:
            signature = parse_presigned(parameters)
        return await self._verify(request, signature, parameters)

    async def _verify(
        self, request: Request, signature: Signature, query: Mapping[bytes, bytes]
    ) -> Identity:
        _check_signed_headers(request, signature.signed)
        key = self._find_key(signature.key_id)
        if key is None:
            raise SignatureRefused(UNKNOWN, NO_SUCH_KEY)
        self._check_time(signature)
        coding = request.headers.get(hdrs.CONTENT_ENCODING)
        if coding is not None and coding.lower() != "identity":
            # It is decoded while it is read, and signed is what was sent.
            raise Problem(415, f"a signed body in the coding {coding!r:.40} is not accepted")
        request.body = await read_body(request, self._limit)
        payload_hash = _find_payload_hash(request, query, presigned=signature.expires is not None)
        canonical = canonical_request(
            request.method,
            canonical_path(_find_path(request)),
            canonical_query(pair for pair in query.items() if pair[0] != _SIGNATURE),
            canonical_headers(request.headers, signature.signed),
            ";".join(signature.signed),
            payload_hash,
        )
        expected = sign(canonical, signature.moment, signature.scope, key.secret)
        if not hmac.compare_digest(expected, signature.hex):
            raise SignatureRefused(INVALID, MISMATCH)
        given_token = signature.token.encode(errors="surrogateescape")
        if not hmac.compare_digest(key.session_token.encode(), given_token):
            raise SignatureRefused(UNKNOWN, NO_SUCH_KEY)
        if key.expires is not None and key.expires <= self._clock.now():
            raise SignatureRefused(EXPIRED, KEY_EXPIRED)
        return Identity(key.principal, "sigv4", key.scopes)

    def _check_time(self, signature: Signature) -> None:
        now = self._clock.now()
        lasts = MAX_SKEW if signature.expires is None else signature.expires
        if signature.time < now - lasts:
            raise SignatureRefused(
                INVALID,
                f"Signature expired: {signature.moment} is now earlier than "
                f"{_moment(now - lasts)} ({_moment(now)} - {lasts / 60:g} min.)",
            )
        if signature.time > now + MAX_SKEW:
            raise SignatureRefused(
                INVALID,
                f"Signature not yet current: {signature.moment} is still later than "
                f"{_moment(now + MAX_SKEW)} ({_moment(now)} + {MAX_SKEW / 60:g} min.)",
            )


def _parse_query(query: str) -> Mapping[bytes, bytes]:
    """Parse the parameters of a query, each of which may come once."""
    if query.count("&") >= MAX_QUERY_FIELDS:
        raise Problem(400, f"the query has more than {MAX_QUERY_FIELDS} fields")
    pairs = parse_pairs(query)
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        # The canonical form sorts them: it would not say which one came last.
        raise SignatureRefused(INCOMPLETE, "A signed query has each parameter once.")
    return parameters


def _check_signed_headers(request: Request, signed: Sequence[str]) -> None:
    if "host" not in signed:
        raise SignatureRefused(
            INVALID, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    if len(request.headers.getall(hdrs.HOST, ())) != 1:
        raise SignatureRefused(INVALID, "A request has one header 'Host'.")
    for name in request.headers:
        lower = name.lower()
        if lower.startswith(MUST_BE_SIGNED) and lower not in signed:
            raise SignatureRefused(
                INVALID,
                f"{lower!r:.80} must be a 'SignedHeader' in the AWS Authorization: it changes what "
                "the request means.",
            )


def _find_payload_hash(request: Request, query: Mapping[bytes, bytes], *, presigned: bool) -> str:
    """Find the hash that was signed: that of the body, unless a presigned URL leaves it open."""
    declared = list(request.headers.getall(_CONTENT_SHA256, ()))
    if presigned:
        given = query.get(b"X-Amz-Content-Sha256")
        declared = declared or ([] if given is None else [given.decode("latin-1")])
        if declared == [UNSIGNED_PAYLOAD]:
            return UNSIGNED_PAYLOAD
    actual = hash_payload(request.body or b"")
    if any(text != actual for text in declared):
        raise SignatureRefused(INVALID, MISMATCH)
    return actual


def _find_path(request: Request) -> str:
    path = request.path
    # The absolute form that proxies are sent (RFC 9112, section 3.2.2).
    return path if path.startswith("/") else urlsplit(path).path or path


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
