"""Security schemes of OpenAPI 3.1 (section 4.8.27), from the authorizers of routes.

The name of a scheme says all that is in it, so that two documents have the same one under it. A JWT
is a bearer's token to paste, and no `openIdConnect`: the docs page would have to ask the issuer,
which its Content-Security-Policy forbids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from eventmesh.http.openapi.schemas import Json
from eventmesh.model.access.authorizers import (
    AUTHORIZATION,
    Alternative,
    Alternatives,
    Anyone,
    ApiKeys,
    Jwt,
)

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")
"""What no name of a component may have."""


def security_schemes(declared: Sequence[Alternatives]) -> Json:
    """Describe the authorizers of several routes, by the names of their schemes."""
    return {
        name: scheme
        for alternatives in declared
        for each in alternatives
        for name, scheme in _schemes(each)
    }


def security_requirements(alternatives: Alternatives) -> list[Json]:
    """List what callers of one route need: any one of these."""
    needed: list[Json] = []
    for each in alternatives:
        if isinstance(each, Anyone):
            needed.append({})
        else:
            needed += [{name: list(each.scopes)} for name, _ in _schemes(each)]
    return needed


def _schemes(declared: Alternative) -> Iterator[tuple[str, Json]]:
    """Describe one authorizer: one scheme, and none for everyone."""
    match declared:
        case Anyone():
            return
        case ApiKeys(header=header):
            yield _name("key", header), {"type": "apiKey", "in": "header", "name": header}
        case Jwt(issuer=issuer):
            text = f"A token of {issuer}."
            bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            yield _name("jwt", issuer), {**bearer, "description": text}
        case _:
            scheme = declared.challenge.partition(" ")[0].lower()
            if declared.header == AUTHORIZATION:
                yield _name("http", scheme), {"type": "http", "scheme": scheme}
            else:
                key = {"type": "apiKey", "in": "header", "name": declared.header}
                yield _name("key", declared.header), key


def _name(kind: str, text: str) -> str:
    return f"{kind}-{_NOT_IN_NAMES.sub('-', text).strip('-')}"
