"""The signature of a request, as its head or its query has it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Final

from eventmesh.http.auth.sigv4.canonical import ALGORITHM, SERVICE, TERMINATOR, Scope
from eventmesh.http.auth.sigv4.refusal import INCOMPLETE, INVALID, SignatureRefused
from eventmesh.model.value import value

MAX_EXPIRES: Final = 7 * 86400
"""Seconds for which a presigned URL may hold."""

_MOMENT: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")
_NAMES: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:;[!#$%&'*+.^_`|~0-9a-z-]+)*")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")
_EXPIRES: Final = re.compile(r"[0-9]{1,9}")

_SCOPED: Final = 5
"""Parts of a credential: key, day, region, service and terminator."""


@value
class Signature:
    """A signature, and what it says about itself.

    `moment` is when it was made, as x-amz-date has it, and `time` that in seconds since the epoch.
    `expires` is for how many seconds a presigned URL holds, None for other requests.
    """

    key_id: str
    scope: Scope
    moment: str
    time: float
    signed: Sequence[str]
    hex: str = field(repr=False)
    token: str = field(repr=False)
    expires: int | None = None


def parse_authorization(text: str, moment: str | None, token: str) -> Signature:
    """Parse an Authorization header, with the values of x-amz-date and x-amz-security-token.

    Raises SignatureRefused.
    """
    algorithm, _, rest = text.partition(" ")
    if algorithm != ALGORITHM:
        raise SignatureRefused(INCOMPLETE, f"Unsupported AWS 'algorithm': {algorithm!r:.40}.")
    parameters: dict[str, str] = {}
    for part in rest.split(","):
        name, _, given = part.strip().partition("=")
        if name in parameters:
            raise SignatureRefused(INCOMPLETE, f"Authorization header has {name!r:.40} twice.")
        parameters[name] = given
    missing = [
        f"Authorization header requires {name!r} parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not parameters.get(name)
    ]
    if not moment:
        missing.append("Authorization header requires existence of a 'X-Amz-Date' header.")
    if missing or not moment:
        raise SignatureRefused(INCOMPLETE, " ".join(missing))
    return _build(
        parameters["Credential"],
        moment,
        parameters["SignedHeaders"],
        parameters["Signature"],
        token,
        None,
    )


def parse_presigned(query: Mapping[bytes, bytes]) -> Signature:
    """Parse the parameters of a presigned URL. Raises SignatureRefused."""
    names = ("Algorithm", "Credential", "Date", "Expires", "Signature", "SignedHeaders")
    parameters = {
        name: query.get(f"X-Amz-{name}".encode(), b"").decode("latin-1") for name in names
    }
    missing = [name for name, given in parameters.items() if not given]
    if missing:
        raise SignatureRefused(
            INCOMPLETE,
            " ".join(
                f"AWS query-string parameters must include 'X-Amz-{name}'." for name in missing
            ),
        )
    if parameters["Algorithm"] != ALGORITHM:
        raise SignatureRefused(
            INCOMPLETE, f"Unsupported AWS 'algorithm': {parameters['Algorithm']!r:.40}."
        )
    expires = parameters["Expires"]
    if not _EXPIRES.fullmatch(expires) or not 1 <= int(expires) <= MAX_EXPIRES:
        raise SignatureRefused(
            INCOMPLETE, f"X-Amz-Expires must be from 1 to {MAX_EXPIRES} seconds: 7 days."
        )
    return _build(
        parameters["Credential"],
        parameters["Date"],
        parameters["SignedHeaders"],
        parameters["Signature"],
        query.get(b"X-Amz-Security-Token", b"").decode("latin-1"),
        int(expires),
    )


def _build(  # noqa: PLR0917  # what a signature has, in the order of the function above
    credential: str, moment: str, signed: str, digits: str, token: str, expires: int | None
) -> Signature:
    key_id, scope = _parse_credential(credential)
    found = _MOMENT.fullmatch(moment)
    if found is None:
        raise SignatureRefused(
            INCOMPLETE, f"Date must be in ISO-8601 'basic format'. Got {moment!r:.40}."
        )
    try:
        year, month, day, hour, minute, second = map(int, found.groups())
        time = datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        raise SignatureRefused(INCOMPLETE, f"There is no date {moment!r}.") from None
    if scope.day != moment[:8]:
        raise SignatureRefused(
            INVALID,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: {scope.day!r:.40} != {moment[:8]!r}, from {moment!r}.",
        )
    names = signed.split(";")
    if not _NAMES.fullmatch(signed) or names != sorted(set(names)):
        raise SignatureRefused(
            INCOMPLETE, "SignedHeaders must be names in small letters, in order, with ';' between."
        )
    if not _SIGNATURE.fullmatch(digits):
        raise SignatureRefused(INCOMPLETE, "Signature must be 64 hexadecimal digits.")
    return Signature(key_id, scope, moment, time, names, digits, token, expires)


def _parse_credential(credential: str) -> tuple[str, Scope]:
    parts = credential.split("/")
    if len(parts) != _SCOPED:
        raise SignatureRefused(
            INCOMPLETE,
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            "keyid/date/region/service/term.",
        )
    key_id, day, region, service, terminator = parts
    if not _REGION.fullmatch(region):
        raise SignatureRefused(INVALID, "Credential should be scoped to a valid region.")
    if service != SERVICE:
        raise SignatureRefused(
            INVALID, f"Credential should be scoped to correct service: {SERVICE!r}."
        )
    if terminator != TERMINATOR:
        raise SignatureRefused(
            INVALID, f"Credential should be scoped with a valid terminator: {TERMINATOR!r}."
        )
    return key_id, Scope(day, region, service)
