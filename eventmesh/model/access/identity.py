"""Who sent a request or a message, as the transport that received it verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal, TypeAlias, get_args

from eventmesh.model.value import value

Scope: TypeAlias = Literal["invoke", "send", "emit", "read", "manage"]
"""What a caller may do: invoke functions and wait, store work for them, emit events, read
functions and dead letters, or redrive and purge them."""

ALL_SCOPES: Final[frozenset[str]] = frozenset(get_args(Scope))

NO_CLAIMS: Final[Mapping[str, Any]] = {}


@value
class Identity:
    """Who sent a request.

    `principal` names the caller, with the kind of its credentials in front: "token:ci",
    "key:AKIDEXAMPLE", "jwt:user-7", "oidc:user-7", "apikey:partner", "service:orders"; "" is nobody
    that is known. `method` says how it was verified: "token", "sigv4", "jwt", "oidc", "apikey",
    "custom", "broker", "loopback", or "" if it was not. `scopes` are what it may do at the built-in
    APIs, `claims` what the credentials say about it, such as the claims of a JWT (RFC 7519): never
    secrets.
    """

    principal: str = ""
    method: str = ""
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: NO_CLAIMS, repr=False)

    def may(self, scope: Scope) -> bool:
        """Whether the caller has the scope."""
        return scope in self.scopes


ANONYMOUS: Final = Identity()
"""A caller without credentials."""

LOCAL: Final = Identity("local", "loopback", ALL_SCOPES)
"""A caller on this machine, where no authentication is configured: it may do everything."""
