"""Who may use the APIs that invoke any function and control the mesh, and what they did.

Where callers are authenticated, each request needs credentials with the scope of what it does.
Where they are not, the API is served at a local address only, and for this machine alone: a web
page may not use it, neither by a request to another site (cross-site request forgery) nor by a name
that was made to point here (DNS rebinding), and neither may who comes through a proxy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs

from eventmesh.http.auth.authenticator import Authenticator
from eventmesh.http.auth.same_origin import SameOriginCheck
from eventmesh.http.protocol import CONTROL, DURABLE, LAMBDA, LAMBDA_STREAMS
from eventmesh.http.server.request import Request
from eventmesh.model.access.addresses import is_loopback
from eventmesh.model.access.identity import ANONYMOUS, LOCAL, Identity, Scope
from eventmesh.model.errors import AccessDenied, Problem, Unauthenticated
from eventmesh.model.settings import Settings, variable
from eventmesh.model.value import value

PROXY_HEADERS: Final = (
    hdrs.FORWARDED,
    hdrs.X_FORWARDED_FOR,
    hdrs.X_FORWARDED_HOST,
    hdrs.X_FORWARDED_PROTO,
    "X-Real-IP",
)

_ROOTS: Final = (f"{CONTROL}/", f"{DURABLE}/", f"{LAMBDA}/", f"{LAMBDA_STREAMS}/")

audit: Final = logging.getLogger("eventmesh.audit")


@value
class Action:
    """What a request asks for: what is done to which function or destination, or to which id."""

    verb: str
    target: str = ""
    id: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.verb, self.target, self.id) if part)


class MissingCredentials(Unauthenticated):
    """A request without any credentials."""


class ApiGuard:
    """Admits the requests to the APIs of one process."""

    def __init__(self, settings: Settings, authenticator: Authenticator | None) -> None:
        host = settings.http_host if settings.api_port is None else settings.api_host
        self._same_origin = SameOriginCheck(host)
        self._authenticator = authenticator
        self._shows_errors = settings.errors == "full"

    async def admit(
        self,
        request: Request,
        scope: Scope,
        action: Action,
        is_public: Callable[[], bool] = lambda: False,
    ) -> Identity:
        """Return who sent a request, if it has the scope, and note the action in the audit log.

        Who has not is asked for no more, if the action `is_public`: it needs an identity alone.
        Raises Unauthenticated and AccessDenied, which are noted, too.
        """
        identity = ANONYMOUS
        try:
            identity = await self._identify(request)
            if not identity.may(scope) and not is_public():
                raise AccessDenied(
                    f"{identity.principal} may not {action}: that needs the scope {scope!r}, and "
                    f"it has {', '.join(sorted(identity.scopes)) or 'none'}"
                )
        except AccessDenied as error:
            note_action(request, action, identity, f"refused: {error}")
            raise
        note_action(request, action, identity, "admitted")
        return identity

    def shows_errors_to(self, identity: Identity) -> bool:
        """Whether the caller sees what handlers raised, as who may read dead letters does."""
        return self._shows_errors or identity.may("read")

    async def _identify(self, request: Request) -> Identity:
        if self._authenticator is not None:
            identity = await self._authenticator.authenticate(request)
            if identity is None:
                raise MissingCredentials(
                    "send credentials, such as a token: 'Authorization: Bearer …'; "
                    "'eventmesh token create' makes one"
                )
            return identity
        if why := self._same_origin.find_violation(request.headers):
            raise AccessDenied(why)
        if not is_loopback(request.remote):
            # The socket of `http_fd` may be bound to another address than the settings say.
            raise AccessDenied(f"only this machine may do this, and not {request.remote}")
        # Also where proxies are trusted: of a stranger that hides who it is, they are the address.
        if any(name in request.headers for name in PROXY_HEADERS):
            raise AccessDenied(
                "this came through a proxy, perhaps from another machine, and nobody is "
                f"authenticated here: configure {variable('auth_file')}"
            )
        return LOCAL


def note_action(request: Request, action: Action, identity: Identity, outcome: str) -> None:
    """Note who did what, when and from where; never a payload or a credential."""
    audit.info(
        "%s by %s: %s",
        action,
        identity.principal or "nobody",
        outcome,
        extra={
            "action": action.verb,
            "target": action.target,
            "id": action.id,
            "principal": identity.principal,
            "method": identity.method,
            "remote": request.remote,
            "outcome": outcome,
        },
    )


def check_spelling(request: Request) -> None:
    """Raise Problem 404 unless the path of an API is written as it is documented.

    Whoever keeps strangers from `/_eventmesh` in a proxy compares text: another spelling of the
    same path, such as `/%5Feventmesh`, would pass there.
    """
    if not request.path.startswith(_ROOTS):
        raise Problem(404, "nothing answers here")
