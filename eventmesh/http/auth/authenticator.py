"""What finds out who sent a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventmesh.http.server.request import Request
from eventmesh.model.access.identity import Identity


class Authenticator(Protocol):
    """Verifies one kind of credentials."""

    async def authenticate(self, request: Request) -> Identity | None:
        """Find out who sent a request; None where it has no credentials of this kind.

        Raises Unauthenticated for credentials that are not believed, and Problem where they cannot
        be checked now.
        """
        ...


class AnyOf:
    """Asks authenticators in their order: the first that knows the kind of credentials decides."""

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def authenticate(self, request: Request) -> Identity | None:
        for authenticator in self._authenticators:
            identity = await authenticator.authenticate(request)
            if identity is not None:
                return identity
        return None
