"""Who may do what at the console, and what was done."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import orjson

from eventmesh.engine.codecs.envelope import dump_error
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.http.api.guard import Action, ApiGuard
from eventmesh.http.server.body import BodyLimit, read_body
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BaseResponse
from eventmesh.http.server.routing import Endpoint, PathValues
from eventmesh.model.access.identity import Identity, Scope
from eventmesh.model.errors import (
    AccessDenied,
    DeclarationError,
    InvocationError,
    Problem,
    Unauthenticated,
)
from eventmesh.model.message import JSON
from eventmesh.model.value import value

CSRF_HEADER: Final = "X-Eventmesh-Console"
"""A header that no form and no page of another origin can set without asking first (Fetch, 4.8)."""

_NO_MEMBERS: Final[Mapping[str, Any]] = {}

MAX_AUDITED: Final = 200


@value
class Asked:
    """An admitted request: who asks, the values of its path, and the members of its body."""

    request: Request
    path: PathValues
    identity: Identity
    body: Mapping[str, Any]

    @property
    def principal(self) -> str:
        """Who asks, as messages carry it."""
        return encode_identity(self.identity)

    def text(self, name: str) -> str:
        """Return a member of the body that is a text; "" without it."""
        given = self.body.get(name, "")
        if not isinstance(given, str):
            raise Problem(422, f"{name!r} is not a text")
        return given

    def texts(self, name: str) -> Sequence[str]:
        """Return a member of the body that is a list of texts; empty without it."""
        given: object = self.body.get(name, [])
        items = cast(list[object], given) if isinstance(given, list) else [None]
        texts = [each for each in items if isinstance(each, str)]
        if len(texts) != len(items):
            raise Problem(422, f"{name!r} is not a list of texts")
        return texts


Answer: TypeAlias = Callable[[Asked], Awaitable[BaseResponse]]


class Gate:
    """Admits requests to the console's API, and remembers the last changes that were asked for."""

    def __init__(self, guard: ApiGuard, limit: BodyLimit, *, read_only: bool) -> None:
        self.read_only = read_only
        self.audited: deque[dict[str, Any]] = deque(maxlen=MAX_AUDITED)
        self._guard = guard
        self._limit = limit
        self._login: Mapping[str, Any] | None = None
        self._lasts: Callable[[Request], bool] | None = None

    def offer_login(self, hint: Mapping[str, Any], lasts: Callable[[Request], bool]) -> None:
        """Tell who is not known where to log in, by `hint`; `lasts` asks whether a session does."""
        self._login, self._lasts = hint, lasts

    def lasts(self, request: Request) -> bool:
        """Whether a request that was admitted, and goes on, is so still: its session may end."""
        return self._lasts is None or self._lasts(request)

    def guarded(self, scope: Scope, verb: str, answer: Answer) -> Endpoint:
        """Build the endpoint of an answer that needs a scope; any but "read" changes something."""
        changes = scope != "read"

        async def endpoint(request: Request, path: PathValues) -> BaseResponse:
            request.response_headers += b"Cache-Control: no-store\r\n"
            target = next(iter(path.values()), "")
            action = Action(f"console: {verb}", target, path.get("id", ""))
            if changes:
                check_own_page(request)
            try:
                identity = await self._guard.admit(request, scope, action)
                if changes and self.read_only:
                    raise AccessDenied("this console only shows: it was started with --read-only")
                body = await self._read(request) if changes else _NO_MEMBERS
                response = await answer(Asked(request, path, identity, body))
            except DeclarationError as error:
                raise Problem(422, str(error)) from error
            except InvocationError as error:
                problem = problem_from(error)
                problem.extensions["error"] = dump_error(error)
                if self._login is not None and isinstance(error, Unauthenticated):
                    problem.extensions["login"] = self._login
                raise problem from error
            if changes:
                self._note(request, identity, action)
            return response

        return endpoint

    async def _read(self, request: Request) -> Mapping[str, Any]:
        body = await read_body(request, self._limit)
        try:
            given: Any = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError as error:
            raise Problem(400, f"the body is no JSON: {error}") from None
        if not isinstance(given, dict):
            raise Problem(422, "the body is no JSON object")
        return cast(dict[str, Any], given)

    def _note(self, request: Request, identity: Identity, action: Action) -> None:
        self.audited.append(
            {
                "at": request.connection.clock.now(),
                "who": identity.principal,
                "action": action.verb.removeprefix("console: "),
                "target": action.target,
                "id": action.id,
                "outcome": "done",
            }
        )


def check_own_page(request: Request) -> None:
    """Raise Problem for what a page of another origin could send without asking: 403, or 415."""
    if request.headers.get(CSRF_HEADER) != "1":
        raise Problem(403, f"send the header {CSRF_HEADER}: 1, which pages of others cannot")
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        raise Problem(415, "send JSON", headers={"Accept": JSON})
