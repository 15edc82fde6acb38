"""The routes by which people log in and out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from eventmesh.console.api.gate import check_own_page
from eventmesh.console.api.login.cookies import Cookie
from eventmesh.console.api.login.pending import LOGIN_SECONDS, PendingLogins
from eventmesh.console.api.login.sessions import SESSION, SessionAuthenticator, Sessions
from eventmesh.console.api.page import NO_PAGES, ROOT
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.http.api.guard import Action, note_action
from eventmesh.http.auth.jwt import granted_scopes, token_scopes
from eventmesh.http.auth.oidc import OidcProvider
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import Request, parse_query
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.http.server.routing import BuiltinRoute, PathValues
from eventmesh.model.access.identity import ANONYMOUS, Identity
from eventmesh.model.errors import AccessDenied, Problem, Unauthenticated
from eventmesh.model.result import ResponseHeaders
from eventmesh.model.value import value

LOGIN: Final = f"{ROOT}/login"
CALLBACK: Final = f"{LOGIN}/callback"

MAX_PATH: Final = 1024
"""The most characters of a path to return to."""

_PATH: Final = re.compile(rf"{ROOT}/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*")
_LOG_IN: Final = Action("console: log in")
_LOG_OUT: Final = Action("console: log out")
_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # The address has the code.
}


@value
class LoginCookies:
    """`pending` is sent when the provider sends the browser back; `session` to own pages alone."""

    pending: Cookie
    session: Cookie


class Login:
    """Logs people in through a provider, and out. `origin` is that of the console's page.

    `claim` is where ID tokens have scopes. `tokens` says whether the page asks for tokens, too.
    """

    def __init__(
        self,
        provider: OidcProvider,
        sessions: Sessions,
        pending: PendingLogins,
        cookies: LoginCookies,
        origin: str,
        *,
        claim: str,
        tokens: bool,
    ) -> None:
        self.authenticator = SessionAuthenticator(sessions, cookies.session, origin)
        self.hint: Mapping[str, Any] = {"at": f"{origin}{LOGIN}", "tokens": tokens}
        self._provider = provider
        self._sessions = sessions
        self._pending = pending
        self._cookies = cookies
        self._origin = origin
        self._claim = claim

    def routes(self) -> Sequence[BuiltinRoute]:
        """The routes, none of which needs a scope."""
        return (
            BuiltinRoute("GET", LOGIN, _with_plain_errors(self._begin, self._explain)),
            BuiltinRoute("GET", CALLBACK, _with_plain_errors(self._finish, self._explain)),
            BuiltinRoute("POST", f"{ROOT}/api/logout", self._log_out),
        )

    async def _begin(self, request: Request) -> BytesResponse:
        """Send the browser to the provider."""
        path = own_path(parse_query(request.target).get("to", ("",))[-1])
        login, text = self._pending.begin(path)
        url = await self._provider.begin(login.attempt)
        cookie = self._cookies.pending.set(text, LOGIN_SECONDS)
        return _redirect(url, [cookie])

    async def _finish(self, request: Request) -> BytesResponse:
        """Begin the session of who comes back from the provider."""
        answer = parse_query(request.target)
        states = answer.get("state", ())
        state = states[0] if len(states) == 1 and states[0].isascii() else ""
        login = self._pending.end(self._cookies.pending.read(request), state)
        if login is None:
            # Before anything else of the address is looked at: anybody could have written it.
            raise Problem(
                400,
                "this login was not begun in this browser, took longer than "
                f"{LOGIN_SECONDS // 60} minutes, or has ended already",
            )
        claims = await self._provider.finish(login.attempt, answer)
        identity = self._identify(claims)
        old = self._cookies.session.read(request)
        text, seconds = self._sessions.begin(identity, float(claims["exp"]))
        self._sessions.end(old)
        note_action(request, _LOG_IN, identity, "admitted")
        cookies = [self._cookies.session.set(text, seconds), self._cookies.pending.clear()]
        return _redirect(login.path, cookies)

    def _identify(self, claims: Mapping[str, Any]) -> Identity:
        """Return who logged in. Raises AccessDenied for who may not even look."""
        told = {name: claim for name, claim in claims.items() if name != "nonce"}
        scopes = granted_scopes(token_scopes(claims, self._claim))
        identity = Identity(f"{SESSION}:{claims['sub']}", SESSION, scopes, told)
        if not encode_identity(identity):
            raise Unauthenticated("the ID token has a subject that cannot be used")
        if not identity.may("read"):
            raise AccessDenied(
                f"{identity.principal} may not use this console: the claim {self._claim!r} of the "
                "ID token has no 'eventmesh:read'"
            )
        return identity

    async def _log_out(self, request: Request, _: PathValues) -> BytesResponse:
        """End the session, if it is one."""
        check_own_page(request)
        text = self._cookies.session.read(request)
        try:
            identity = await self.authenticator.authenticate(request)
        except Unauthenticated:  # It is over already.
            identity = None
        except AccessDenied as error:
            note_action(request, _LOG_OUT, ANONYMOUS, f"refused: {error}")
            raise
        if identity is not None:
            self._sessions.end(text)
            note_action(request, _LOG_OUT, identity, "admitted")
        headers = {**_HEADERS, "Set-Cookie": self._cookies.session.clear()}
        return json_response(200, {}, headers)

    def _explain(self, request: Request, problem: Problem) -> BytesResponse:
        """Answer with a plain text, and note it: whoever could not log in reads this."""
        note_action(request, _LOG_IN, ANONYMOUS, f"refused: {problem.detail}")
        text = f"You are not logged in: {problem.detail}.\n\nTry again at {self._origin}{ROOT}/\n"
        headers = {**problem.headers, **_HEADERS, "Set-Cookie": self._cookies.pending.clear()}
        return BytesResponse(problem.status, text.encode(), "text/plain; charset=utf-8", headers)


def own_path(given: str) -> str:
    """Return the path of a screen of the console, if that is what is given, or else its root.

    No other host, no `..`, and nothing that answers with a redirect again.
    """
    path = given.partition("?")[0]
    segments = unquote(path).split("/")
    if (
        len(given) > MAX_PATH
        or not _PATH.fullmatch(given)
        or any(segment in (".", "..") for segment in segments)
        or segments[2] in NO_PAGES
    ):
        return f"{ROOT}/"
    return given


def _redirect(url: str, cookies: Sequence[str]) -> BytesResponse:
    headers: ResponseHeaders = {**_HEADERS, "Location": url, "Set-Cookie": cookies}
    return BytesResponse(303, headers=headers)


def _with_plain_errors(answer: Any, explain: Callable[[Request, Problem], BytesResponse]) -> Any:
    """Build an endpoint that answers people, not programs, where something is wrong."""

    async def endpoint(request: Request, _: PathValues) -> BytesResponse:
        try:
            response: BytesResponse = await answer(request)
        except (AccessDenied, Problem) as error:
            return explain(request, problem_from(error))
        return response

    return endpoint
