"""The identity of a caller as the text that messages carry: here, and nowhere else.

Compact JSON of few members, bounded in size. Whoever may publish can write any text there: what
cannot be read is nobody's identity, and no error. Whether a message's text is believed at all is
decided where it arrives.
"""

from __future__ import annotations

from typing import Any, Final, NotRequired

import orjson
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from eventmesh.engine.codecs.json import encode
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.access.identity import ANONYMOUS, LOCAL, NO_CLAIMS, Identity
from eventmesh.model.errors import PayloadInvalid, PayloadTooLarge

MAX_IDENTITY: Final = 8 * 1024
"""The most bytes of an encoded identity: the headers of a message have 124 KiB together."""

MAX_NAME: Final = 512
"""The most characters of a principal, a method or a scope."""

MAX_VALUES: Final = 1000
"""The most values in an encoded identity."""


class _Fields(TypedDict):
    p: str
    m: str
    s: NotRequired[list[str]]
    c: NotRequired[dict[str, Any]]


_FIELDS: Final = TypeAdapter(_Fields)


def encode_identity(identity: Identity) -> str:
    """Encode an identity; "" for one that says nothing.

    One that is too large goes without its claims, and if it still is, without its scopes: who has
    less of them may do less. "" also for a principal that cannot be carried at all.
    """
    if identity is LOCAL:
        return _LOCAL
    if not identity.principal and not identity.method:
        return ""
    return _encode(identity)


def _encode(identity: Identity) -> str:
    fields: dict[str, Any] = {"p": identity.principal, "m": identity.method}
    scopes = {"s": sorted(identity.scopes)} if identity.scopes else {}
    claims = {"c": dict(identity.claims)} if identity.claims else {}
    for members in (fields | scopes | claims, fields | scopes, fields):
        try:
            text = encode(members)
        except (PayloadInvalid, ValueError, RecursionError):  # Claims that JSON does not have.
            continue
        if decode_identity(text.decode()).principal == identity.principal:
            return text.decode()
    return ""


def decode_identity(text: str) -> Identity:
    """Decode an identity; ANONYMOUS for text that is none."""
    if not text:
        return ANONYMOUS
    try:
        encoded = text.encode()
        if not _is_readable(encoded):
            return ANONYMOUS
        return _read(orjson.loads(encoded))
    except (ValueError, RecursionError):  # A ValidationError is a ValueError.
        return ANONYMOUS


def _is_readable(encoded: bytes) -> bool:
    if len(encoded) > MAX_IDENTITY:
        return False
    try:
        check_nodes(encoded, MAX_VALUES)
    except PayloadTooLarge:
        return False
    return True


def _read(decoded: Any) -> Identity:
    """Make an identity of decoded JSON. Raises ValueError."""
    fields = _FIELDS.validate_python(decoded, strict=True)
    names = frozenset(_name(scope) for scope in fields.get("s", ()))
    return Identity(_name(fields["p"]), _name(fields["m"]), names, fields.get("c", NO_CLAIMS))


def _name(given: str) -> str:
    if len(given) > MAX_NAME or not given.isprintable():
        raise ValueError("a name is too long, or has what cannot be printed")
    return given


_LOCAL: Final = _encode(LOCAL)
"""What each call to the APIs of a process carries where nobody is authenticated."""
