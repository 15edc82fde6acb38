"""The canonical form of a request, which is what is signed.

The form is AWS's ("Create a signed AWS API request" in the IAM user guide), that of all services
but S3: the path is encoded once more than it was sent. Unlike AWS, a path is not normalised: no
client of this API has a reason to send `.`, `..` or `//`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote, unquote_to_bytes

from eventmesh.model.value import value

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"

SERVICE: Final = "lambda"
"""The service that every credential is scoped to: the API that this one has the form of."""

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

CACHED_KEYS: Final = 256
"""How many signing keys are kept: one a day, region and access key, made with four hashes."""

_UNRESERVED: Final = "-_.~"


class Headers(Protocol):
    """The headers of a request."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


@value
class Scope:
    """What a signing key is for: a day as YYYYMMDD, a region and a service."""

    day: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/{TERMINATOR}"


def canonical_request(*parts: str) -> str:
    """Join the parts of a request.

    They are the method, the path, the query, the headers, their names with ";" between them and the
    hash of the body.
    """
    return "\n".join(parts)


def canonical_path(path: str) -> str:
    """Encode a path, as it was sent, once more."""
    return quote(_bytes(path), safe=f"/{_UNRESERVED}") or "/"


def canonical_query(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """Encode and sort the parameters of `parse_pairs`."""
    encoded = sorted(
        (quote(name, safe=_UNRESERVED), quote(text, safe=_UNRESERVED)) for name, text in pairs
    )
    return "&".join(f"{name}={text}" for name, text in encoded)


def parse_pairs(query: str) -> list[tuple[bytes, bytes]]:
    """Parse a query as the endpoints do: "+" is a space, and bytes need not be UTF-8."""
    pairs = (pair.replace("+", " ").partition("=") for pair in query.split("&") if pair)
    return [(_unquote(name), _unquote(text)) for name, _, text in pairs]


def canonical_headers(headers: Headers, names: Iterable[str]) -> str:
    """Write the headers of these names, in small letters, one a line; "" where one is missing.

    White space within a value is folded, and several headers of a name are joined by commas.
    """
    return "".join(f"{name}:{_values(headers.getall(name, ('',)))}\n" for name in names)


def hash_payload(body: bytes) -> str:
    """The hash of a body, in hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def sign(canonical: str, moment: str, scope: Scope, secret: str) -> str:
    """Sign a canonical request at a moment, as x-amz-date has it: the signature in hexadecimal."""
    hashed = hashlib.sha256(_bytes(canonical)).hexdigest()
    text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashed}"
    key = _signing_key(secret, scope.day, scope.region, scope.service)
    return hmac.digest(key, text.encode(), "sha256").hex()


@lru_cache(CACHED_KEYS)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _values(values: Sequence[str]) -> str:
    # As bytes, of which only white space of ASCII is some.
    folded = (b" ".join(_bytes(text).split()) for text in values)
    return b",".join(folded).decode(errors="surrogateescape")


def _unquote(text: str) -> bytes:
    return unquote_to_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    """The bytes of a part of a head, as aiohttp decodes it."""
    return text.encode(errors="surrogateescape")
