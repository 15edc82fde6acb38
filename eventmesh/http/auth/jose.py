"""Signatures of JSON Web Tokens (RFC 7515) and their keys (RFC 7517), by joserfc.

Loaded only where JWTs are verified: joserfc comes with the extra `jwt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry, extract_compact, validate_compact

from eventmesh.model.value import value

MIN_RSA_BITS: Final = 2048
"""The shortest RSA key that is used (RFC 7518, section 3.3)."""

MIN_SECRET_BYTES: Final = 32
"""The shortest secret that is used, as long as a hash of HS256 (RFC 7518, section 3.2)."""

MAX_KEYS: Final = 100
"""The most keys of a set that are read."""

_CURVES: Final[Mapping[str, str]] = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

_TYPES: Final[Sequence[str | None]] = (None, "jwt", "at+jwt", "application/at+jwt")
"""Tokens of another type, such as one for logging out, are for another purpose (RFC 8725, 3.11)."""

KeySet: TypeAlias = Mapping[str | None, Sequence[Key]]
"""Keys by their ids; None has those without one."""


@value
class SignedToken:
    """A token whose signature was not verified yet."""

    key_id: str | None
    algorithm: str
    parts: Any


class _Registry(JWSRegistry):
    """Reads headers as the standard has it: unknown members mean nothing."""

    max_header_length = 4096

    def __init__(self, algorithms: Sequence[str]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        # The parent's warns of EdDSA's name, which many issuers have not changed yet.
        if not self.allowed or name not in self.allowed:
            raise JoseError(f"the algorithm {name!r} is not allowed")
        return self.algorithms[name]


class SignatureCheck:
    """Verifies signatures made by one of some algorithms, of joserfc's names."""

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._algorithms = tuple(algorithms)
        self._registry = _Registry(self._algorithms)

    def parse(self, token: str) -> SignedToken:
        """Parse a token. Raises ValueError, which says why it is not accepted."""
        try:
            parts = extract_compact(token.encode(), None, self._registry)
            header: Any = parts.headers()
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise ValueError("the token cannot be read") from None
        if not isinstance(header, dict):
            raise ValueError("the token's header is no JSON object")  # noqa: TRY004
        header = cast(Mapping[str, Any], header)
        # Which keys to use is our own decision: jku, x5u, jwk and x5c are not looked at.
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if algorithm not in self._algorithms:
            raise ValueError("the token's algorithm is not accepted")
        if "crit" in header:
            raise ValueError("the token has critical headers, none of which is understood")
        if not isinstance(key_id, str | None):
            raise ValueError("the token's key id is not a text")  # noqa: TRY004
        if (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
            raise ValueError("the token is of another type than JWT or at+jwt")
        return SignedToken(key_id, str(algorithm), parts)

    def find_keys(self, keys: KeySet, token: SignedToken) -> Sequence[Key]:
        """Find the keys that may have signed a token: of its key id, type and algorithm.

        A token without a key id may be signed by the only key of its kind.
        """
        if token.key_id is not None:
            return [key for key in keys.get(token.key_id, ()) if _fits(key, token.algorithm)]
        found = [key for some in keys.values() for key in some if _fits(key, token.algorithm)]
        return found if len(found) == 1 else ()

    def verify(self, token: SignedToken, keys: Sequence[Key]) -> bytes:
        """Return the payload of a token that one of the keys signed. Raises ValueError."""
        if not any(self._verifies(token, key) for key in keys):
            raise ValueError("the token's signature is wrong")
        return bytes(token.parts.payload)

    def _verifies(self, token: SignedToken, key: Key) -> bool:
        try:
            return validate_compact(token.parts, key, self._algorithms, self._registry)
        except (JoseError, ValueError, TypeError):
            return False


def load_claims(payload: bytes) -> Mapping[str, Any]:
    """Read the claims in a payload. Raises ValueError."""
    try:
        claims = orjson.loads(payload)
    except orjson.JSONDecodeError:
        claims = None
    if not isinstance(claims, dict):
        raise ValueError("the token's claims are no JSON object")  # noqa: TRY004
    return cast(Mapping[str, Any], claims)


def load_keys(document: Any, algorithms: Sequence[str]) -> KeySet:
    """Read a JWK set (RFC 7517, section 5), as decoded JSON.

    Keys that fit none of the algorithms, that are for encryption, or that cannot be read or are too
    short are left out. Raises ValueError if none is left.
    """
    members = cast(Mapping[str, Any], document if isinstance(document, dict) else {})
    listed: Any = members.get("keys")
    if not isinstance(listed, list):
        raise ValueError("there is no JWK set: an object with a list `keys`")  # noqa: TRY004
    found: dict[str | None, list[Key]] = {}
    for fields in cast(Sequence[Any], listed)[:MAX_KEYS]:
        key = _load_key(fields)
        if key is not None and any(_fits(key, algorithm) for algorithm in algorithms):
            found.setdefault(fields.get("kid"), []).append(key)
    if not found:
        raise ValueError(f"there is no key for {', '.join(algorithms)} in the JWK set")
    return found


def _load_key(fields: Any) -> Key | None:
    if not isinstance(fields, dict):
        return None
    members = cast(dict[str, Any], fields)
    if not isinstance(members.get("kid"), str | None):
        return None
    if members.get("use", "sig") != "sig" or "verify" not in members.get("key_ops", ("verify",)):
        return None
    # A private key is needed for nothing here, but a set that was made for tests has one.
    try:
        key = import_key(members)
        strong = _is_strong(key)
    except (JoseError, ValueError, TypeError, OverflowError):
        return None
    return key if strong else None


def _is_strong(key: Key) -> bool:
    match key:
        case RSAKey():
            return key.public_key.key_size >= MIN_RSA_BITS
        case OctKey():
            return len(key.raw_value) >= MIN_SECRET_BYTES
        case _:
            return True


def _fits(key: Key, algorithm: str) -> bool:
    """Whether a key is one for that algorithm: one of another kind is never tried."""
    declared = key.get("alg")
    eddsa = algorithm in ("Ed25519", "EdDSA")  # Two names of one (RFC 9864).
    if (
        declared is not None
        and declared != algorithm
        and not (eddsa and declared in ("Ed25519", "EdDSA"))
    ):
        return False
    match key:
        case RSAKey():
            return algorithm[:2] in ("RS", "PS")
        case ECKey():
            return key.curve_name == _CURVES.get(algorithm)
        case OKPKey():
            return eddsa and key.curve_name == "Ed25519"
        case OctKey():
            return algorithm.startswith("HS")
